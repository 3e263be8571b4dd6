import { Failure } from '../failures/failure.ts';
import type { FailureId } from '../failures/table.ts';

/** What is the fault of a place, and not of the backup. */
const faultsOfPlaces: readonly FailureId[] = [
  'backup.missing',
  'backup.damaged',
  'backup.unreadable',
  'backup.destination-failed',
  'backup.not-found',
];

/**
 * Reads a backup from the first place that has it whole.
 *
 * @param places names, the best first
 * @throws what the first said, where none has it whole
 */
export async function fromFirst<T>(places: readonly string[], read: (place: string) => Promise<T>): Promise<T> {
  let first: unknown;
  for (const place of places) {
    try {
      return await read(place);
    } catch (error) {
      if (!(error instanceof Failure) || !faultsOfPlaces.includes(error.id)) throw error;
      first ??= error;
    }
  }
  throw first;
}
