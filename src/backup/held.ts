import { Failure } from '../failures/failure.ts';
import type { BackupStore } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
import { rescueSheet } from './rescue.ts';

/**
 * That a destination still holds what was put there. A folder on which its disk is not mounted is there as well, and empty: a copy
 * in it would lie on the disk that it is to be safe from.
 *
 * @throws Failure `backup.destination-empty`
 */
export async function assertHeld(destination: Destination, store: BackupStore, attempted: string): Promise<void> {
  const newest = store.list('complete').find((row) => row.destination === destination.name);
  if (newest === undefined) return;
  for (const name of [rescueSheet, `${newest.id}/manifest.json`]) if ((await destination.size(name)) !== null) return;
  throw new Failure('backup.destination-empty', {
    attempted,
    reason: `${destination.place} has none of the backups that were put there, the newest ${newest.id}`,
  });
}
