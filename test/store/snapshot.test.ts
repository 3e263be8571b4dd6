import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { snapshotStore } from '../../src/store/snapshot.ts';
import { Store } from '../../src/store/store.ts';

/** The copy of a store that goes into a backup, read by SQLite itself. */

let dir: string;
let store: Store;
let copied: DatabaseSync | null = null;

beforeEach(() => {
  // A path that would mean something else in a URI.
  dir = mkdtempSync(join(tmpdir(), 'store 100%?#'));
  store = Store.open(join(dir, 'steward.db'));
});

afterEach(() => {
  copied?.close();
  copied = null;
  store.close();
  rmSync(dir, { recursive: true });
});

const path = (): string => join(dir, 'copy.db');

function copy(): DatabaseSync {
  snapshotStore(store.path, path());
  copied?.close();
  copied = new DatabaseSync(path(), { readOnly: true });
  return copied;
}

const rows = (database: DatabaseSync, sql: string): unknown => database.prepare(sql).all();

test('its schema is that of the store, its rows too, and nothing lies beside it', () => {
  const schema = 'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name';
  store.database.exec(`
    INSERT INTO alerts (seq, id, subject, detail, next, event, raised_at) VALUES (7, 'a', 's', 'd', 'n', 0, 1);
    DELETE FROM alerts;
    INSERT INTO facts (name, value) VALUES ('admin_room', '!a:example.org'), ('sync_token', 's1');
  `);

  const made = copy();

  expect(rows(made, schema)).toEqual(rows(store.database, schema));
  expect(rows(made, 'PRAGMA user_version')).toEqual(rows(store.database, 'PRAGMA user_version'));
  expect(rows(made, 'PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }]);
  // A number that was given is not given again.
  expect(rows(made, "SELECT seq FROM sqlite_sequence WHERE name = 'alerts'")).toEqual([{ seq: 7 }]);
  expect(rows(made, "SELECT name FROM facts WHERE name <> 'written_by'")).toEqual([{ name: 'admin_room' }]);
  expect(statSync(path()).mode & 0o777).toBe(0o600);
  expect(['-journal', '-wal', '-shm'].filter((ending) => existsSync(`${path()}${ending}`))).toEqual([]);
});

test("the device's keys are not in it, not in a page that is free either", () => {
  store.database
    .prepare("INSERT INTO device VALUES (1, '@s:example.org', 'D', ?, x'00', 1)")
    .run(Buffer.from('5e551075'.repeat(500), 'hex'));

  expect(rows(copy(), 'SELECT * FROM device')).toEqual([]);
  expect(readFileSync(path()).includes(Buffer.from('5e551075'.repeat(10), 'hex'))).toBe(false);
});

test('it does not grow with the media that destinations hold', () => {
  const empty = (copy(), statSync(path()).size);
  store.database.exec("INSERT INTO media_packs (id, destination, name, backup, pack) VALUES (1, 'disk', 'one', 'b', '{}')");
  const insert = store.database.prepare("INSERT INTO media_files (destination, media_id, pack) VALUES ('disk', ?, 1)");
  store.transaction(() => {
    for (let n = 0; n < 20_000; n += 1) insert.run(`medium${n}`);
  });
  store.database.exec("INSERT INTO media_until (destination, until) VALUES ('disk', 5)");

  const made = copy();

  expect(statSync(path()).size).toBe(empty);
  // What a destination holds is read there, all or nothing of it.
  for (const table of ['media_files', 'media_packs', 'media_until']) expect(rows(made, `SELECT * FROM ${table}`)).toEqual([]);
});

test('it is of one instant, while others write', () => {
  const other = new DatabaseSync(store.path);
  other.exec("BEGIN IMMEDIATE; INSERT INTO facts (name, value) VALUES ('half', '1')");

  expect(rows(copy(), "SELECT * FROM facts WHERE name = 'half'")).toEqual([]);
  other.exec('COMMIT');
  other.close();
  expect(rows(copy(), "SELECT value FROM facts WHERE name = 'half'")).toEqual([{ value: '1' }]);
});
