import { Failure } from '../failures/failure.ts';
import { showDuration } from '../reply/time.ts';
import type { CommandContext } from './context.ts';

/** Milliseconds between two looks: they grow from the first to the last. */
const firstLook = 250;
const lastLook = 10_000;
/** Milliseconds without any answer after which nobody is kept waiting. */
const longestSilence = 24 * 60 * 60_000;

/** How far work is that Synapse goes on with after its answer: the `TaskStatus` of synapse/types. */
export interface WorkStatus {
  status: 'scheduled' | 'active' | 'complete' | 'failed' | 'cancelled';
}

/**
 * Waits for work that Synapse goes on with by itself: an outage of the homeserver ends the wait no more than it ends the
 * work, which Synapse resumes when it is up again.
 *
 * @param look null where Synapse knows nothing of it
 * @returns the first status that will change no more
 * @throws Failure what `look` throws and trying again does not help, or after a day without an answer; when Steward stops,
 *   the reason of `leaving`
 */
export async function untilEnded<T extends WorkStatus>(
  { clock, progress, leaving }: CommandContext,
  look: () => Promise<T | null>,
): Promise<T | null> {
  const began = clock.monotonic();
  let heard = began;
  for (let wait = firstLook; ; wait = Math.min(lastLook, wait * 2)) {
    let words = 'Synapse is at it';
    try {
      const found = await look();
      if (found === null || (found.status !== 'scheduled' && found.status !== 'active')) return found;
      heard = clock.monotonic();
    } catch (error) {
      if (!(error instanceof Failure) || !error.retry || clock.monotonic() - heard > longestSilence) throw error;
      words = `the homeserver does not say how far it is (${error.id})`;
    }
    await clock.sleep(wait, leaving);
    leaving.throwIfAborted();
    progress(`${words}, ${showDuration(clock.monotonic() - began)}`);
  }
}
