import { chmodSync } from 'node:fs';
import { backup } from 'node:sqlite';
import { Database } from './database.ts';
import type { Store } from './store.ts';

/**
 * Copies the store, as it is at one instant, to a file for a backup; work goes on meanwhile. Left out of it, and wiped: the
 * device's keys and sessions, which are not to be used twice, what waits to be sent, and what was under way.
 *
 * @param path of the copy, 0600
 */
export async function snapshotStore(store: Store, path: string): Promise<void> {
  await backup(store.database, path);
  chmodSync(path, 0o600);
  const copy = new Database(path, { enableForeignKeyConstraints: false });
  try {
    // One file, with nothing beside it that would have to be copied too.
    copy.exec('PRAGMA journal_mode = DELETE; PRAGMA secure_delete = ON');
    copy.exec(`
      BEGIN;
      DELETE FROM device;
      DELETE FROM undecryptable;
      DELETE FROM outbox WHERE sent_at IS NULL;
      DELETE FROM facts WHERE name = 'sync_token';
      UPDATE steps SET state = 'failed', failure = json_object('id', 'job.unknown', 'reason', 'the store is of a backup that was made while it ran', 'hint', '') WHERE state IN ('waiting', 'running') AND job_id IN (SELECT id FROM jobs WHERE finished_at IS NULL);
      UPDATE jobs SET finished_at = created_at, state = CASE state WHEN 'running' THEN 'unknown' ELSE 'cancelled' END WHERE finished_at IS NULL;
      UPDATE restores SET state = 'finished' WHERE state NOT IN ('finished', 'failed');
      DELETE FROM media_files WHERE pack IN (SELECT media_packs.id FROM media_packs JOIN backups
        ON backups.id = media_packs.backup AND backups.destination = media_packs.destination WHERE backups.state = 'making');
      DELETE FROM media_packs WHERE EXISTS (SELECT 1 FROM backups
        WHERE backups.id = media_packs.backup AND backups.destination = media_packs.destination AND backups.state = 'making');
      DELETE FROM backups WHERE state IN ('making', 'copying');
      COMMIT;
    `);
  } finally {
    copy.close();
  }
}
