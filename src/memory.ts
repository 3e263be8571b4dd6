import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock } from './clock.ts';

const every = 30_000;
/** Bytes that the heap may have grown by before it is worth it. */
const worthIt = 8 << 20;

/**
 * Keeps a daemon that is mostly idle small. V8 keeps what a busy moment took, for days, because nothing presses it: what is short-lived is
 * collected in 2 MiB instead of in up to 64, and a heap that has grown is given back, which takes a tenth of a second.
 */
export async function keepSmall(clock: Clock, signal: AbortSignal): Promise<void> {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--expose-gc');
  // A context that begins now has the function, this one has not.
  const collect = runInNewContext('gc') as (options: object) => void;
  for (let kept = 0; ;) {
    await clock.sleep(every, signal);
    if (signal.aborted) return;
    if (process.memoryUsage().heapTotal - kept < worthIt) continue;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    kept = process.memoryUsage().heapTotal;
  }
}
