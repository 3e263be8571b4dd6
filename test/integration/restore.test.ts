import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { sql } from '../../kit/postgres.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** Restores of a real Synapse on a real PostgreSQL: prepared, cut over, undone, finished. */

jest.setTimeout(120_000);

let world: RestoreWorld;
let media: string;
let bad: string;

beforeAll(async () => {
  world = await RestoreWorld.open();
  [media, bad] = [await world.upload('kept'), await world.upload('good'.repeat(500_000))];
}, 400_000);

afterAll(() => world.dispose());

let backup: string;
let atBackup: string;
let mediaAtBackup: string;
let before: string;
let mediaBefore: string;

test('a prepare loads beside the live server, and touches nothing of it', async () => {
  atBackup = await world.settledOracle();
  mediaAtBackup = world.mediaTree();
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  // What happens after the backup, and would be lost.
  await world.synapse.register({ localpart: 'later' });
  await world.upload('new');
  rmSync(world.mediaFile(media));
  writeFileSync(world.mediaFile(bad), 'evil');
  before = await world.settledOracle();
  mediaBefore = world.mediaTree();
  const files = world.files();
  const pid = world.pid;
  const reply = await world.steward('restore prepare latest --yes');
  expect(reply).toMatchObject({ outcome: 'done', result: { media: 2, mediaMissing: 0, files: [] } });
  backup = (reply.result as { id: string }).id;
  expect(await world.oracle()).toBe(before);
  expect(world.mediaTree()).toBe(mediaBefore);
  expect(world.files()).toBe(files);
  expect(world.pid).toBe(pid);
  expect(await world.oracle(`synapse_restore_${backup}`)).toBe(atBackup);
  const shape = `SELECT datcollate, datctype, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'synapse_restore_${backup}'`;
  expect((await sql(world.postgres.superuser, shape)).trim()).toBe('C|C|UTF8');
});

test('a cutover brings back rows and media of the backup, and the downtime is told', async () => {
  const dry = await world.steward(`restore cutover ${backup} --dry-run`);
  expect(JSON.stringify(dry.parts)).toMatch(/1 new user and 1 new media file/);
  const reply = await world.steward(`restore cutover ${backup}`);
  expect({ outcome: reply.outcome, said: JSON.stringify(reply.parts) }).toMatchObject({ outcome: 'done' });
  expect((reply.result as { downtimeSeconds: number }).downtimeSeconds).toBeLessThan(15);
  expect(await world.answers()).toBe(true);
  expect(await world.oracle()).toBe(atBackup);
  expect(await world.oracle(`synapse_before_${backup}`)).toBe(before);
  expect(readFileSync(world.mediaFile(media), 'utf8')).toBe('kept');
  for (const line of mediaAtBackup.trim().split('\n')) expect(world.mediaTree()).toContain(line);
});

test('an undo brings back what was live before, all of it, also long after the cutover', async () => {
  // As if it had been two hours ago: from one hour on it takes what a cutover takes.
  const { store } = await world.core();
  const soon = await world.steward(`restore undo ${backup} --dry-run`);
  expect(JSON.stringify(soon.parts)).not.toContain('more than an hour ago');
  store.database.prepare('UPDATE restores SET cut_over_at = cut_over_at - 7200000 WHERE id = ?').run(backup);
  const late = await world.steward(`restore undo ${backup} --dry-run`);
  expect(JSON.stringify(late.parts)).toMatch(/catastrophic.*the cutover is more than an hour ago/);
  const reply = await world.steward(`restore undo ${backup} --yes`);
  expect({ outcome: reply.outcome, said: JSON.stringify(reply.parts) }).toMatchObject({ outcome: 'done' });
  expect((reply.result as { downtimeSeconds: number }).downtimeSeconds).toBeLessThan(15);
  expect(await world.answers()).toBe(true);
  expect(await world.oracle()).toBe(before);
  expect(world.mediaTree()).toBe(mediaBefore);
});

test('it can be cut over again, and a finish leaves nothing aside', async () => {
  expect(await world.steward(`restore cutover latest`)).toMatchObject({ outcome: 'done' });
  expect(await world.oracle()).toBe(atBackup);
  expect(await world.steward('restore finish latest')).toMatchObject({ outcome: 'done' });
  expect(await world.databases()).toEqual(['synapse']);
  expect(world.aside()).toEqual([]);
  expect(await world.oracle()).toBe(atBackup);
  expect(await world.steward('restore undo latest --yes')).toMatchObject({ outcome: 'refused', errorId: 'restore.state' });
});
