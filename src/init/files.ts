import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Ids } from '../clock.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';

/** Writes a file of mode 0600, whole or not at all, in a folder that is made (0700) when missing. Throws `init.not-written`. */
export async function writePrivateFile(path: string, content: string, ids: Ids): Promise<void> {
  const temporary = `${path}.${ids.short(8)}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw new Failure('init.not-written', { attempted: `write ${path}`, reason: `the system says ${codeOf(error)}` });
  }
}

/** The secret in a file, without the newline at its end; null when there is no file. */
export async function readSecret(path: string): Promise<Secret | null> {
  const text = await readText(path);
  return text === null || text.trim() === '' ? null : new Secret(text.replace(/\r?\n$/, ''));
}

/** The text of a file; null when there is no file. */
export async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw new Failure('usage.input-unreadable', { attempted: `read ${path}`, reason: `the system says ${codeOf(error)}` });
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
