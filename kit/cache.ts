import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';

/** Told of work that takes more than a moment, one line each. */
export type Progress = (line: string) => void;

/** Progress on stderr, as all programs of this repository show it. */
export const toStderr: Progress = (line) => process.stderr.write(`steward: ${line}\n`);

/** The folder for what is built or downloaded once: `$XDG_CACHE_HOME/steward`, `~/.cache/steward` by default. */
export function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'steward');
}

/**
 * Runs `work` while no other process on this cache holds the lock `name`; the others wait.
 * The operating system ends the lock with its process, also on SIGKILL.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  await mkdir(cacheFolder(), { recursive: true });
  const lock = new DatabaseSync(join(cacheFolder(), `${name}.lock`), { timeout: 0 });
  try {
    while (!taken(lock)) await sleep(100);
    return await work();
  } finally {
    lock.close();
  }
}

function taken(lock: DatabaseSync): boolean {
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return true;
  } catch (error) {
    if ((error as { errcode?: number }).errcode === 5) return false; // SQLITE_BUSY
    throw error;
  }
}

/**
 * The path of `name` (a file or a folder) in the cache; when missing, `build` makes it at the path it is given, which is renamed
 * at the end: what is there is whole. Only one process builds it. `build` may have to run again after a kill.
 */
export async function cached(name: string, build: (path: string) => Promise<void>): Promise<string> {
  const path = join(cacheFolder(), name);
  if (existsSync(path)) return path;
  return await withLock(name, async () => {
    if (existsSync(path)) return path;
    await removeLeftovers(path);
    const work = `${path}.new-${randomUUID()}`;
    try {
      await build(work);
      await rename(work, path);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    return path;
  });
}

/** Half-built things of processes that were killed; the lock is ours, so none is in use. */
async function removeLeftovers(path: string): Promise<void> {
  for (const name of await readdir(dirname(path))) {
    if (name.startsWith(`${basename(path)}.new-`)) await rm(join(dirname(path), name), { recursive: true, force: true });
  }
}
