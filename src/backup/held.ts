import { Failure } from '../failures/failure.ts';
import type { BackupStore } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';

/** Manifests that are looked for before a place counts as another one: somebody may have removed the newest by hand. */
const lookedAtMost = 5;

/**
 * That a destination still holds what was put there. A folder on which its disk is not mounted is there as well, and empty: a copy
 * in it would lie on the disk that it is to be safe from. What is not of one backup, such as the rescue sheet, shows nothing: it is
 * written anew again and again.
 *
 * @throws Failure `backup.destination-empty`
 */
export async function assertHeld(destination: Destination, store: BackupStore, attempted: string): Promise<void> {
  const rows = store.list('complete').filter((row) => row.destination === destination.name);
  const [newest] = rows;
  if (newest === undefined) return;
  for (const { id } of rows.slice(0, lookedAtMost)) if ((await destination.size(`${id}/manifest.json`)) !== null) return;
  throw new Failure('backup.destination-empty', {
    attempted,
    reason: `${destination.place} has none of the backups that were put there, the newest ${newest.id}`,
  });
}
