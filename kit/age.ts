import { type Progress, toStderr } from './cache.ts';
import { ensureDebian, hasProgram } from './debian.ts';
import { run } from './process.ts';

/** Brings `age`, `age-keygen` and `zstd` of Debian. Errors: MissingPart. */
export async function ensureAge(progress: Progress = toStderr): Promise<void> {
  await ensureDebian(['age', 'zstd'], () => hasProgram('age') && hasProgram('zstd'), progress);
}

/** Writes a fresh key as `age-keygen` does. Returns the recipient that files are encrypted to. */
export async function makeAgeKey(path: string): Promise<string> {
  await run(['age-keygen', '-o', path]);
  return ageRecipient(path);
}

/** The recipient of the key in a file. */
export async function ageRecipient(path: string): Promise<string> {
  return (await run(['age-keygen', '-y', path])).trim();
}

/** What `age -d` makes of a file. Errors: age's own. */
export async function ageDecrypt(keyPath: string, filePath: string): Promise<string> {
  return run(['age', '-d', '-i', keyPath, filePath]);
}
