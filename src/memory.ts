import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock } from './clock.ts';

/** Milliseconds between two looks. */
const every = 2_000;
/** Looks after which a little is worth it: half a minute. */
const some = 15;
/** Bytes that the heap may have grown by before it is worth it: in half a minute, and at any look. */
const little = 8 << 20;
const much = 32 << 20;

/**
 * Keeps a daemon that is mostly idle small. V8 keeps what a busy moment took, for days, because nothing presses it: what is short-lived is
 * collected in 2 MiB instead of in up to 64, and a heap that has grown is given back, which takes a tenth of a second. A long stream leaves
 * behind what V8 would collect only at its limit: what has grown much is not waited for.
 */
export async function keepSmall(clock: Clock, signal: AbortSignal): Promise<void> {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--expose-gc');
  // A context that begins now has the function, this one has not.
  const collect = runInNewContext('gc') as (options: object) => void;
  for (let kept = 0, looks = 1; ; looks += 1) {
    await clock.sleep(every, signal);
    if (signal.aborted) return;
    const grown = process.memoryUsage().heapTotal - kept;
    if (grown < (looks % some === 0 ? little : much)) continue;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    kept = process.memoryUsage().heapTotal;
  }
}
