import { readFile } from 'node:fs/promises';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { writePrivateFile } from '../secrets/private-file.ts';

/** Writes a file of mode 0600, whole or not at all, in a folder that is made (0700) when missing. Throws `init.not-written`. */
export async function writeSetupFile(path: string, content: string): Promise<void> {
  try {
    await writePrivateFile(path, content);
  } catch (error) {
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

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
