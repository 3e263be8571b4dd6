import { chmodSync, closeSync, openSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { Database } from './database.ts';

/** Tables of which a copy takes some rows only, and which. */
const taken: Readonly<Record<string, string>> = {
  // The device's keys and sessions are not to be used twice.
  device: 'FALSE',
  undecryptable: 'FALSE',
  outbox: 'sent_at IS NOT NULL',
  facts: "name <> 'sync_token'",
  backups: "state NOT IN ('making', 'copying')",
  // A row for each medium: as much in every backup as all media need, and `backup scan` reads it from where they are.
  media_files: 'FALSE',
  media_packs: 'FALSE',
  media_until: 'FALSE',
};

/** What was under way is not, where the copy is opened. */
const ended = `
  UPDATE steps SET state = 'failed', failure = json_object('id', 'job.unknown', 'reason', 'the store is of a backup that was made while it ran', 'hint', '') WHERE state IN ('waiting', 'running') AND job_id IN (SELECT id FROM jobs WHERE finished_at IS NULL);
  UPDATE jobs SET finished_at = created_at, state = CASE state WHEN 'running' THEN 'unknown' ELSE 'cancelled' END WHERE finished_at IS NULL;
  UPDATE restores SET state = 'finished' WHERE state NOT IN ('finished', 'failed');
`;

/**
 * Copies a store, as it is at one instant, to a new file for a backup; whoever has it open goes on meanwhile. Left out are the
 * device's keys and sessions, what waits to be sent, what was under way, and which media each destination holds.
 *
 * It returns when the copy is whole: to be called in a thread of its own.
 *
 * @param from file of the store
 * @param path of the copy, 0600; one that is there is overwritten
 */
export function snapshotStore(from: string, path: string): void {
  closeSync(openSync(path, 'w', 0o600));
  chmodSync(path, 0o600);
  const copy = new Database(path, { enableForeignKeyConstraints: false });
  try {
    // One file, with nothing beside it that would have to be copied too; of a copy that did not come to its end nothing is used.
    copy.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF');
    copy.prepare('ATTACH ? AS live').run(`${pathToFileURL(from).href}?mode=ro`);
    copy.exec('BEGIN');
    const tables = schemaOf(copy, 'table');
    for (const { sql } of tables) copy.exec(sql);
    for (const { name } of tables) {
      const which = taken[name];
      copy.exec(`INSERT INTO main.${name} SELECT * FROM live.${name}${which === undefined ? '' : ` WHERE ${which}`}`);
    }
    copy.exec('DELETE FROM main.sqlite_sequence; INSERT INTO main.sqlite_sequence SELECT * FROM live.sqlite_sequence');
    for (const kind of ['index', 'view', 'trigger']) for (const { sql } of schemaOf(copy, kind)) copy.exec(sql);
    const version = copy.prepare('PRAGMA live.user_version').get();
    copy.exec(`PRAGMA main.user_version = ${Number(version?.['user_version'])}`);
    copy.exec(`${ended} COMMIT`);
  } finally {
    copy.close();
  }
}

/** Those that SQLite makes by itself have no text. */
function schemaOf(copy: Database, kind: string): { name: string; sql: string }[] {
  const rows = copy.prepare(
    "SELECT name, sql FROM live.sqlite_schema WHERE type = ? AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
  );
  return rows.all(kind).map(({ name, sql }) => ({ name: String(name), sql: String(sql) }));
}
