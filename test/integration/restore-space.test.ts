import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from '../../kit/postgres.ts';
import { until } from './support/until.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { hasSmallDisks, SmallDisk } from './support/small-disk.ts';

/** A disk that is full, or fills, while a restore is prepared: on small disks with a real PostgreSQL, its log among its data. */

jest.setTimeout(120_000);

const mebibyte = 1 << 20;

let world: RestoreWorld;
/** Of PostgreSQL, of Synapse with its media. */
let data: SmallDisk;
let home: SmallDisk;
let postgresDir: string;
let before: { rows: string; media: string; files: string; pid: string | null; server: string };

beforeAll(async () => {
  if (!hasSmallDisks) return;
  postgresDir = mkdtempSync(join(tmpdir(), 'small-postgres-'));
  data = new SmallDisk(postgresDir, '1200m');
  world = await RestoreWorld.open({ postgresDir, mount: (at) => (home = new SmallDisk(at, '64m')) });
  const at = { ...world.postgres.superuser, name: 'synapse' };
  await sql(at, `CREATE TABLE fill AS SELECT md5(random()::text) AS x FROM generate_series(1, 400000)`);
  await sql(at, 'ALTER TABLE fill OWNER TO synapse');
  const ids = await Promise.all(Array.from({ length: 300 }, (_, n) => world.upload(`small ${n}`)));
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  // These would be put back.
  for (const id of ids) rmSync(world.mediaFile(id));
  writeFileSync(join(world.synapse.dir, 'form_secret'), 'another');
  await world.settledOracle();
  before = await look();
}, 400_000);

afterAll(async () => {
  if (!hasSmallDisks) return;
  await world.stop();
  home.dispose();
  await world.dispose();
  data.dispose();
  rmSync(postgresDir, { recursive: true, force: true });
});

const look = async () => ({
  ...{ rows: await world.settledOracle(), media: world.mediaTree(), files: world.files(), pid: world.pid },
  // One that had to start again is another.
  server: await sql(
    world.postgres.superuser,
    'SELECT pg_postmaster_start_time(), (SELECT max(pid) FROM pg_stat_activity WHERE backend_type = $$checkpointer$$)',
  ),
});

(hasSmallDisks ? describe : describe.skip)('a prepare without space says so and leaves nothing', () => {
  afterEach(async () => {
    data.empty();
    home.empty();
    expect(await world.answers()).toBe(true);
    expect(await world.databases()).toEqual(['synapse']);
    expect(world.aside()).toEqual([]);
    expect(await look()).toEqual(before);
  });

  const prepare = async (words = '') => {
    const reply = await world.steward(`restore prepare latest --yes ${words}`.trim());
    return { outcome: reply.outcome, errorId: reply.errorId, said: JSON.stringify(reply.parts) };
  };

  test('where the server says where its data are, before anything is loaded', async () => {
    await sql(world.postgres.superuser, 'GRANT pg_read_all_settings TO steward');
    await data.fillTo(150 * mebibyte);
    expect(await prepare()).toMatchObject({
      errorId: 'restore.no-space',
      said: expect.stringMatching(/small-postgres-.* has 1\d\d MB free, and about \d+ MB are needed/),
    });
  });

  test('and where something else fills that disk meanwhile, before the server itself is short', async () => {
    // Enough is free, and what is left to take is taken before the load has ended.
    await data.fillTo(320 * mebibyte);
    const filled = until(
      async () => (await world.databases()).some((name) => name.startsWith('synapse_restore_')),
      30_000,
      'the load has begun',
    ).then(() => data.fillTo(100 * mebibyte));
    expect(await prepare()).toMatchObject({ errorId: 'restore.no-space', said: expect.stringContaining('small-postgres-') });
    await filled;
    await sql(world.postgres.superuser, 'REVOKE pg_read_all_settings FROM steward');
  });

  test('of media that take more than their size', async () => {
    await home.fillTo(mebibyte / 2);
    expect(await prepare('--only media')).toMatchObject({ errorId: 'restore.no-space', said: expect.stringContaining(world.synapse.dir) });
  });

  test('of media, seen before', async () => {
    await home.fillTo(2000);
    expect(await prepare('--only media')).toMatchObject({ errorId: 'restore.no-space', said: expect.stringMatching(/free, and about/) });
  });

  test('of keys, configuration and secrets, in the folder of its own', async () => {
    const own = new SmallDisk(join(world.dir, 'data/restores'), '4k');
    const reply = await prepare('--only secrets');
    const left = readdirSync(own.path);
    own.dispose();
    expect(left).toEqual([]);
    expect(reply).toMatchObject({ errorId: 'restore.no-space', said: expect.stringContaining('data/restores') });
  });
});

(hasSmallDisks ? test : test.skip)('where the server does not say where its data are, what it says itself is told', async () => {
  // Its log elsewhere, as on any large server: without space for that it ends at once.
  const log = mkdtempSync(join(tmpdir(), 'log-'));
  await world.stop();
  await world.postgres.stop();
  const inside = join(postgresDir, 'data/pg_wal');
  cpSync(inside, log, { recursive: true, preserveTimestamps: true });
  world.run(['chown', '-R', '--reference', inside, log]);
  rmSync(inside, { recursive: true });
  symlinkSync(log, inside);
  await world.postgres.start();
  await world.start();
  before = await look();
  await data.fillTo(90 * mebibyte);
  const dry = await world.steward('restore prepare latest --dry-run');
  expect(JSON.stringify(dry.parts)).toMatch(/GRANT pg_read_all_settings TO steward;.*lets Steward look/);
  const config = await world.steward('server config');
  expect(JSON.stringify(config.parts)).toMatch(/⚠️ .*restore.*: steward may not ask where the database lies/);
  expect(config.parts).toContainEqual(expect.objectContaining({ kind: 'code', text: 'GRANT pg_read_all_settings TO steward;' }));
  const reply = await world.steward('restore prepare latest --yes');
  expect({ ...reply, parts: JSON.stringify(reply.parts) }).toMatchObject({
    errorId: 'restore.no-space',
    parts: expect.stringMatching(/PostgreSQL said ERROR: +could not extend file .*(?:No space left on device|wrote only)/),
  });
  expect(await world.databases()).toEqual(['synapse']);
  expect(world.aside()).toEqual([]);
  expect(await look()).toEqual(before);
  data.empty();
  expect(await world.steward('restore prepare latest --yes')).toMatchObject({ outcome: 'done' });
  expect(readFileSync(join(world.synapse.dir, 'form_secret'), 'utf8')).toBe('another');
  rmSync(log, { recursive: true, force: true });
});
