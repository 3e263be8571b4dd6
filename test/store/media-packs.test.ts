import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BackupStore, type PackRow } from '../../src/store/backups.ts';
import { migrations } from '../../src/store/migrations.ts';
import { Store } from '../../src/store/store.ts';

/** Which media a destination holds, as a store of before packs had numbers knew it, and as one store knows it of two destinations. */

let dir: string;
let store: Store | null = null;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'media-packs-'));
});

afterEach(() => {
  store?.close();
  store = null;
  rmSync(dir, { recursive: true });
});

function opened(): BackupStore {
  store = Store.open(join(dir, 'steward.db'));
  return new BackupStore(store);
}

const pack = (name: string): PackRow => ({
  name,
  epoch: '2026-11',
  source: { bytes: 1, sha256: 'a' },
  stored: { bytes: 2, sha256: 'b' },
  index: { name: `${name}.files`, source: { bytes: 1, sha256: 'c' }, stored: { bytes: 2, sha256: 'd' } },
  files: 2,
});

test('a store whose media named their packs keeps each in its pack', () => {
  const named = migrations.findIndex(({ sql }) => sql.includes('RENAME TO named_packs'));
  const database = new DatabaseSync(join(dir, 'steward.db'));
  for (const { sql } of migrations.slice(0, named)) database.exec(sql);
  database.exec(`PRAGMA user_version = ${named}`);
  for (const destination of ['disk', 'cloud'])
    for (const name of ['one', 'two']) {
      database
        .prepare('INSERT INTO media_packs (destination, name, backup, pack) VALUES (?, ?, ?, ?)')
        .run(destination, name, '20261122_021500', JSON.stringify(pack(name)));
      for (const id of ['a', 'b'])
        database.prepare('INSERT INTO media_files (destination, media_id, pack) VALUES (?, ?, ?)').run(destination, `${name}-${id}`, name);
    }
  database.close();

  const backups = opened();

  expect(backups.packs('disk')).toEqual([pack('one'), pack('two')]);
  expect(backups.mediaOf('cloud', 'two', '', 10)).toEqual(['two-a', 'two-b']);
  expect(backups.mediaOf('cloud', 'two', 'two-a', 10)).toEqual(['two-b']);
  expect(backups.hasMedia('disk', 'one-a')).toBe(true);
});

test('a pack that one destination lost is still in the other, and comes back with a copy of it', () => {
  const backups = opened();
  for (const destination of ['disk', 'cloud']) {
    backups.addPack(destination, '20261122_021500', pack('one'), ['one-a', 'one-b']);
    backups.addPack(destination, '20261122_021500', pack('two'), ['two-a']);
  }
  backups.setFaults('disk', [['one-a', 'wrong']]);

  backups.dropPack('cloud', 'one');

  expect([backups.hasMedia('cloud', 'one-a'), backups.hasMedia('disk', 'one-a'), backups.hasMedia('cloud', 'two-a')]).toEqual([
    false,
    true,
    true,
  ]);
  expect(backups.copyPack('one', ['cloud', 'disk'], 'cloud')).toBe(true);
  expect(backups.mediaOf('cloud', 'one', '', 10)).toEqual(['one-a', 'one-b']);
  expect(backups.faults('cloud', '', 10)).toEqual([{ id: 'one-a', problem: 'wrong' }]);
  expect(backups.copyPack('one', ['disk'], 'cloud')).toBe(false);
});

test('what a backup that was not finished has packed in one destination is forgotten there alone', () => {
  const backups = opened();
  for (const destination of ['disk', 'cloud']) backups.addPack(destination, '20261122_021500', pack('one'), ['one-a']);

  backups.forget('20261122_021500', 'cloud');

  expect(backups.packs('cloud')).toEqual([]);
  expect([backups.hasMedia('cloud', 'one-a'), backups.hasMedia('disk', 'one-a')]).toEqual([false, true]);
});
