import { statfs } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import type { Clock } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';

/** Milliseconds between two looks at a disk that is being filled. */
const lookEvery = 100;

/** Bytes that anybody may still write on the disk of a folder; null where it cannot be told. */
export async function freeAt(path: string): Promise<number | null> {
  const stats = await statfs(path).catch(() => null);
  return stats === null ? null : stats.bavail * stats.bsize;
}

/** Whether an address, as a server says its own, is one of this machine's. */
export function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((each) => each?.some((known) => known.address === address));
}

/**
 * Runs `work` as long as so much is free in a folder: what comes near to filling a disk harms all else that writes there.
 *
 * @param reserve bytes that stay free
 * @throws Failure `restore.no-space`, when `work` has ended
 */
export async function keepingFree<T>(
  { place, reserve, attempted, clock, signal }: { place: string; reserve: number; attempted: string; clock: Clock; signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const [short, done] = [new AbortController(), new AbortController()];
  const watching = (async () => {
    while (!done.signal.aborted) {
      const free = await freeAt(place);
      if (free !== null && free < reserve) {
        short.abort();
        return;
      }
      await clock.sleep(lookEvery, done.signal);
    }
  })();
  try {
    return await work(AbortSignal.any([signal, short.signal]));
  } catch (error) {
    if (!short.signal.aborted) throw error;
    throw noSpace(attempted, place, error);
  } finally {
    done.abort();
    await watching;
  }
}

export function noSpace(attempted: string, place: string, cause: unknown): Failure {
  return new Failure('restore.no-space', { attempted, reason: `the disk of ${place} is full`, cause });
}

/** An error of a full disk, or of a used-up quota, with its place; any other as it is. */
export function told(error: unknown, attempted: string, place: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' ? noSpace(attempted, place, error) : error;
}
