import { closeSync, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { isPlainObject } from './document.ts';
import { shellWord } from './shell-word.ts';
import { outline, type ConfigKey } from './outline.ts';
import { Secret } from './secret.ts';

export interface SecretFileMistake {
  path: readonly string[];
  found: string;
  hint?: string;
}

/**
 * The tree with the content of each secret file in place of its path. Paths are relative to `folder`; a trailing newline
 * is dropped. A file that cannot be used is a mistake; an empty Secret then stands in its place. `paths` are absolute.
 */
export function readSecretFiles(
  tree: Record<string, unknown>,
  folder: string,
): { tree: Record<string, unknown>; mistakes: SecretFileMistake[]; paths: string[] } {
  const mistakes: SecretFileMistake[] = [];
  const paths: string[] = [];
  const visit = (value: unknown, key: ConfigKey, path: readonly string[]): unknown => {
    if (key.secretFile && typeof value === 'string' && value !== '') {
      paths.push(resolve(folder, value));
      const read = readSecretFile(value, folder);
      if (typeof read === 'string') return new Secret(read);
      mistakes.push({ path, ...read });
      return new Secret('');
    }
    if (!isPlainObject(value)) return value;
    const childOf = (name: string): ConfigKey | undefined => key.children.find((child) => ['*', name].includes(child.path.at(-1) ?? ''));
    return Object.fromEntries(
      Object.entries(value).map(([name, entry]) => {
        const child = childOf(name);
        return [name, child === undefined ? entry : visit(entry, child, [...path, name])];
      }),
    );
  };
  return { tree: visit(tree, outline, []) as Record<string, unknown>, mistakes, paths };
}

/** The content, or what is wrong. What was given is told only when the file exists: it may be the secret itself. */
function readSecretFile(given: string, folder: string): string | { found: string; hint?: string } {
  const path = resolve(folder, given);
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return {
      found: missing
        ? `no such file${isAbsolute(given) ? '' : ` (relative paths start at ${folder})`}`
        : 'a file that Steward may not read',
    };
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) return { found: 'something that is not a file' };
    if (isExposed(stats))
      return {
        found: `a file that others may read (mode ${(stats.mode & 0o777).toString(8).padStart(4, '0')})`,
        hint: `chmod 600 ${shellWord(path)}`,
      };
    const content = readFileSync(descriptor, 'utf8').replace(/\r?\n$/, '');
    return content.trim() === '' ? { found: 'an empty file' } : content;
  } finally {
    closeSync(descriptor);
  }
}

/** Group and others get nothing; but a file of another owner (a mounted Kubernetes Secret) can be read only through the group. */
function isExposed(stats: Stats): boolean {
  return (stats.mode & (stats.uid === process.getuid?.() ? 0o077 : 0o037)) !== 0;
}
