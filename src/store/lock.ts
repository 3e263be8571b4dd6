import { chmodSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import { storeFailure } from './store.ts';

/**
 * Takes the one-writer lock of a store: an exclusive transaction on a file of its own, which the kernel ends with the
 * process, also on kill -9.
 *
 * @param path the lock file
 * @param wait milliseconds to wait for another holder
 * @throws Failure `store.locked` when it is still held then, `store.unwritable` when the file cannot be made
 */
export async function takeLock(path: string, wait: number, clock: Clock): Promise<{ release(): void }> {
  const until = clock.monotonic() + wait;
  for (;;) {
    const held = tryLock(path);
    if (held !== null)
      return {
        release: () => {
          held.close();
        },
      };
    if (clock.monotonic() >= until) throw new Failure('store.locked', { attempted: `use the store beside ${path}` });
    await clock.sleep(50);
  }
}

function tryLock(path: string): DatabaseSync | null {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    chmodSync(path, 0o600);
    database.exec('PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    const busy = 5;
    if ((error as { errcode?: number }).errcode === busy) return null;
    throw storeFailure(error, `lock the store with ${path}`);
  }
}
