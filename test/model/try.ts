import fc from 'fast-check';
import { ProcessEnded } from './database.ts';
import { History, steps } from './history.ts';
import type { Place } from './place.ts';

export interface TryOptions {
  /** The same seed makes the same histories. Default: another one each time. */
  seed?: number;
  /** Whether the shortest history with the fault is looked for. Default true. */
  isShrinking?: boolean;
}

/**
 * Tries so many random histories.
 *
 * @throws Error with the shortest history found in which something was not as it must be, its seed and its path
 */
export async function tryHistories(place: Place, count: number, options: TryOptions = {}): Promise<void> {
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => {
    if (!isOfTheDead(error)) unhandled.push(error);
  };
  process.on('unhandledRejection', note);
  try {
    await assertHistories(place, unhandled, count, options);
  } finally {
    process.off('unhandledRejection', note);
  }
}

/** @param unhandled errors that nobody has caught: Steward would have ended by them */
async function assertHistories(place: Place, unhandled: unknown[], count: number, { seed, isShrinking = true }: TryOptions): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.commands(steps, { size: 'max', maxCommands: 30 }), async (commands) => {
      const history = await History.begin(place);
      try {
        await history.start();
        await fc.asyncModelRun(() => ({ model: {}, real: history }), commands);
        await history.finish();
        const faults = [...history.faults(), ...(await history.server.differences())];
        const [error] = unhandled.splice(0);
        if (error !== undefined) throw new Error('an error was caught by nobody', { cause: error });
        if (faults.length > 0) throw new Error(faults.join('\n'));
      } finally {
        history.kill();
        place.clear();
      }
    }),
    { numRuns: count, endOnFailure: !isShrinking, ...(seed === undefined ? {} : { seed }) },
  );
}

/** Whether it comes from a process that has been killed. */
function isOfTheDead(error: unknown): boolean {
  return error instanceof ProcessEnded || (error instanceof Error && error.cause !== undefined && isOfTheDead(error.cause));
}
