import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { sql, startPostgres, type Database, type Postgres } from '../../kit/postgres.ts';
import { run } from '../../kit/process.ts';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { tokenise } from '../../src/commands/grammar/tokenise.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { openCore, type Core } from '../../src/core.ts';
import type { ShellMessage } from '../../src/terminal/session.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { canMount, withMounts } from './support/namespace.ts';
import { until } from './support/until.ts';

/** Backups of a real Synapse on a real PostgreSQL, opened again by the programs that an admin has. */

jest.setTimeout(60_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');
const root = resolve(import.meta.dirname, '../..');

let dir: string;
let disk: string;
let postgres: Postgres;
let database: Database;
let synapse: Synapse;
let alice: Account;
let core: Core;
/** Identity of age that an admin has, and that Steward has not. */
let adminKey: string;

const config = (keys: Record<string, unknown>): string =>
  stringify({
    data_dir: 'data',
    homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
    stack: { homeserver_config: [synapse.configPath] },
    backup: { destinations: { disk: { directory: disk } }, keys },
  });

function openSteward(keys: Record<string, unknown>): Promise<Core> {
  writeFileSync(join(dir, 'steward.yaml'), config(keys));
  return openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'backup-'));
  disk = join(dir, 'disk');
  postgres = await startPostgres();
  database = await postgres.createDatabase({ name: 'synapse', owner: 'synapse-user' });
  synapse = await startSynapse({ dir: join(dir, 'synapse'), database: { postgres: database }, serverName: 'example.org' });
  alice = await synapse.register({ localpart: 'alice', admin: true });
  writeFileSync(join(dir, 'token'), alice.accessToken, { mode: 0o600 });
  adminKey = join(dir, 'my.key');
  spawnSync('age-keygen', ['-o', adminKey]);
  core = await openSteward({ recipients: [recipient()] });
  for (const content of ['one', 'two'.repeat(1_000_000)]) await upload(content);
  // What a server writes by itself would be a difference to what was backed up.
  await synapse.stop();
}, 180_000);

afterAll(async () => {
  core.close();
  await synapse.dispose();
  await postgres.dispose();
  rmSync(dir, { recursive: true, force: true });
});

const recipient = (): string => /age1[a-z0-9]+/.exec(readFileSync(adminKey, 'utf8'))?.[0] ?? '';

/** @returns the media id */
async function upload(content: string): Promise<string> {
  const answer = await fetch(`${synapse.url}/_matrix/media/v3/upload?filename=file.txt`, {
    method: 'POST',
    headers: { authorization: `Bearer ${alice.accessToken}`, 'content-type': 'text/plain' },
    body: content,
  });
  return ((await answer.json()) as { content_uri: string }).content_uri.split('/').at(-1) ?? '';
}

type Reply = Extract<ShellMessage, { type: 'reply' }>;

async function steward(line: string, more: { breakGlass?: string } = {}): Promise<Reply> {
  const tokens = tokenise(line);
  if (!Array.isArray(tokens)) throw new Error(line);
  let reply: Reply | undefined;
  for await (const message of core.session().run({ words: tokens.map((token) => token.value), items: null, secrets: {}, ...more }))
    if (message.type === 'reply') reply = message;
  if (reply === undefined) throw new Error('no reply');
  return reply;
}

/** All files below the destination, sorted. */
const all = (): string[] =>
  readdirSync(disk, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(disk.length + 1))
    .sort();
/** Those of backups. */
const files = (): string[] => all().filter((name) => /^\d/.test(name));
const ids = (): string[] => [...new Set(files().map((file) => file.split('/')[0] ?? ''))];

interface Manifest {
  objects: { role: string; name: string; stored: { bytes: number; sha256: string } }[];
  media: Record<string, unknown>;
}
const manifestOf = (id: string): Manifest => JSON.parse(readFileSync(join(disk, id, 'manifest.json'), 'utf8')) as Manifest;

/** Rows of every table of a database, hashed by PostgreSQL, but for the one that is left out. */
async function oracle(name: string): Promise<string> {
  const at = { ...postgres.superuser, name };
  const tables = (
    await sql(at, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'e2e_one_time_keys_json' ORDER BY 1`)
  )
    .trim()
    .split('\n');
  const each = tables.map(
    (table) => `SELECT '${table}', count(*), md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) FROM "${table}" t`,
  );
  return sql(at, `${each.join(' UNION ALL ')} ORDER BY 1`);
}

let first: string;

test('is made, and proven on both axes', async () => {
  const before = await oracle('synapse');
  const reply = await steward('backup create');
  expect(reply).toMatchObject({ outcome: 'done' });
  [first = ''] = ids();
  expect(first).toMatch(/^\d{8}_\d{6}$/);
  const month = new Date().toISOString().slice(0, 7);
  expect(files().map((file) => file.slice(first.length + 1))).toEqual(
    [
      'RESTORE.txt',
      'config/config.tar.age',
      'database/synapse.dump.zst.age',
      `keys/epoch-${month}.age`,
      'keys/signing-key.tar.age',
      'manifest.json',
      'media/pack-0001.files.age',
      'media/pack-0001.tar.age',
      'proof.json',
      'secrets/secrets.tar.age',
      'steward/steward.tar.age',
    ].sort(),
  );
  expect(manifestOf(first).media).toMatchObject({ files: 2, newFiles: 2, missing: 0, wrong: 0 });
  const proof = JSON.parse(readFileSync(join(disk, first, 'proof.json'), 'utf8')) as {
    content: { level: number; tables: number };
    object: { level: number };
  };
  expect(proof).toMatchObject({
    content: { level: 4, missing: null, media: { media: 2, bytes: 3_000_003, missing: 0, wrong: 0, examples: [] } },
    object: { level: 1 },
  });
  expect(proof.content.tables).toBeGreaterThan(150);
  // Nothing of the live server was touched.
  expect(await oracle('synapse')).toBe(before);
});

test('holds nothing in clear, and is closed to other users', () => {
  const secret = readFileSync(join(synapse.dir, 'signing.key'), 'utf8').trim().split(' ')[2] ?? '';
  expect(all()).toContain('RESCUE.txt');
  for (const file of all()) {
    const content = readFileSync(join(disk, file));
    expect(content.includes(secret)).toBe(false);
    expect(content.includes(database.password)).toBe(false);
    expect(content.includes('alice')).toBe(false);
  }
});

describe('by hand', () => {
  /** Lines that tell the mode of the keys before they are removed. */
  const keysSeen = (script: string): string => script.replace(/^rm epoch-/m, "stat -c '%a' epoch-*.key\n$&");

  test('docs/restore-by-hand.md restores it: rows, media, keys and configuration are what they were', async () => {
    const before = await oracle('synapse');
    const place = join(dir, 'by-hand');
    spawnSync('cp', ['-r', disk, place]);
    spawnSync('cp', [adminKey, join(place, 'my.key')]);
    mkdirSync(join(place, 'media_store'));
    const month = new Date().toISOString().slice(0, 7);
    const guide = readFileSync(join(root, 'docs/restore-by-hand.md'), 'utf8');
    const lines = guide
      .split('\n')
      .filter((line) => line.startsWith('    '))
      .map((line) => line.trim());
    expect(lines.length).toBeGreaterThan(10);
    // What is for SQLite, and the swap, which needs a stopped server, are left out.
    const typed = lines.filter((line) => !line.includes('homeserver.db') && !line.startsWith('psql'));
    const script = typed
      .join('\n')
      .replaceAll('20261122_021500', first)
      .replaceAll('2026-11', month)
      .replaceAll(/(-O |--role=)synapse /g, '$1synapse-user ');
    const env = { PGHOST: postgres.host, PGPORT: String(postgres.port), PGUSER: 'postgres', PGPASSWORD: postgres.superuser.password };
    expect(await run(['bash', '-e', '-o', 'pipefail', '-c', `cd ${place}\n${keysSeen(script)}`], { env })).toMatch(/^600$/m);
    expect(statSync(join(place, 'media_store/local_content')).mode & 0o055).toBe(0o055);
    expect(await oracle('synapse_restored')).toBe(before);
    expect(await sql({ ...postgres.superuser, name: 'synapse_restored' }, 'SELECT count(*) FROM e2e_one_time_keys_json')).toBe('0\n');
    const tree = (path: string): string =>
      spawnSync('sh', ['-c', 'find . -type f -exec sha256sum {} + | sort'], { cwd: path }).stdout.toString();
    const content = tree(join(place, 'media_store/local_content'));
    expect(content).toBe(tree(join(synapse.mediaPath, 'local_content')));
    expect(content.trim().split('\n')).toHaveLength(2);
    for (const path of [
      join(synapse.dir, 'signing.key'),
      synapse.configPath,
      synapse.registrationSharedSecretPath,
      join(dir, 'steward.yaml'),
    ])
      expect(readFileSync(join(place, 'restored', path))).toEqual(readFileSync(path));
    expect(existsSync(join(place, `epoch-${month}.key`))).toBe(false);
  });

  test('RESTORE.txt in the backup does the same, and puts it in place', async () => {
    await sql(postgres.superuser, 'DROP DATABASE IF EXISTS synapse_restored');
    const place = join(dir, 'by-text');
    spawnSync('cp', ['-r', disk, place]);
    spawnSync('cp', [adminKey, join(place, 'my.key')]);
    mkdirSync(join(place, 'media_store'));
    const typed = readFileSync(join(place, first, 'RESTORE.txt'), 'utf8')
      .split('\n')
      .filter((line) => /^(umask|age|createdb|mkdir|psql|rm) /.test(line));
    const env = { PGHOST: postgres.host, PGPORT: String(postgres.port), PGUSER: 'postgres', PGPASSWORD: postgres.superuser.password };
    const script = keysSeen(typed.join('\n'));
    expect(await run(['bash', '-e', '-o', 'pipefail', '-c', `cd ${place}\n${script}`], { env })).toMatch(/^600$/m);
    expect(statSync(join(place, 'media_store/local_content')).mode & 0o055).toBe(0o055);
    expect(await oracle('synapse')).toBe(await oracle('synapse_before'));
    await sql(postgres.superuser, 'DROP DATABASE synapse');
    await sql(postgres.superuser, 'ALTER DATABASE synapse_before RENAME TO synapse');
  });
});

describe('the next one', () => {
  beforeAll(() => synapse.start());

  test('copies only media that are new, and is whole by itself', async () => {
    await upload('three');
    expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
    const second = ids().at(-1) ?? '';
    expect(second).not.toBe(first);
    const { media, objects } = manifestOf(second);
    expect(media).toMatchObject({ files: 3, newFiles: 1 });
    expect(objects.filter(({ role }) => role === 'media').map(({ name }) => name)).toEqual([
      `${first}/media/pack-0001.tar.age`,
      `${second}/media/pack-0001.tar.age`,
    ]);
    expect(readFileSync(join(disk, second, 'media/pack-0001.tar.age')).length).toBeLessThan(5000);
    await steward('backup create');
    expect(manifestOf(ids().at(-1) ?? '').media).toMatchObject({ files: 3, newFiles: 0 });
  });

  test('copies again what somebody removed from the destination', async () => {
    const pack = join(disk, first, 'media/pack-0001.tar.age');
    const held = readFileSync(pack);
    rmSync(pack);
    expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
    const id = ids().at(-1) ?? '';
    expect(manifestOf(id).media).toMatchObject({ files: 3, newFiles: 2 });
    expect(manifestOf(id).objects.some(({ name }) => name === `${first}/media/pack-0001.tar.age`)).toBe(false);
    writeFileSync(pack, held, { mode: 0o600 });
  });

  test('tells of media without a file, and of files that are not what the database says', async () => {
    const gone = await upload('gone');
    const bad = await upload('good');
    const path = (id: string): string => join(synapse.mediaPath, 'local_content', id.slice(0, 2), id.slice(2, 4), id.slice(4));
    rmSync(path(gone));
    writeFileSync(path(bad), 'evil');
    await steward('backup create');
    const { media } = manifestOf(ids().at(-1) ?? '');
    expect(media).toMatchObject({ missing: 1, wrong: 1 });
    expect((media['examples'] as string[]).sort()).toEqual([gone, bad].sort());
  });
});

describe('list, info and verify', () => {
  test('show what there is', async () => {
    const list = await steward('backup list');
    expect(JSON.stringify(list.parts)).toContain(first);
    expect(JSON.stringify(list.parts)).toContain('content L4');
    const info = await steward(`backup info ${first}`);
    expect(JSON.stringify(info.parts)).toContain('example.org');
    expect(await steward('backup info 20000101_000000')).toMatchObject({ outcome: 'failed', errorId: 'backup.not-found' });
    expect(await steward(`backup verify ${first}`)).toMatchObject({ outcome: 'done' });
    expect(await steward(`backup verify ${first} --level 2`)).toMatchObject({ outcome: 'refused', errorId: 'backup.no-key' });
  });

  test('a flipped byte in any object is found, and takes the proof back', async () => {
    const objects = files().filter((file) => file.startsWith(`${first}/`) && file.endsWith('.age'));
    expect(objects.length).toBe(8);
    for (const file of [...objects, `${first}/manifest.json`, `${first}/proof.json`]) {
      const path = join(disk, file);
      const content = readFileSync(path);
      const changed = Buffer.from(content);
      changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
      writeFileSync(path, changed);
      const found = await steward(`backup verify ${first}`);
      expect({ file, ...found }).toMatchObject({ file, outcome: 'failed', errorId: 'backup.damaged' });
      expect(JSON.stringify(found.parts)).toContain(file);
      // Nothing of it was read: what was found is not over.
      if (file.endsWith('.age')) {
        const quick = await steward(`backup verify ${first} --level 0`);
        expect(quick).toMatchObject({ outcome: 'done' });
        expect(JSON.stringify(quick.parts)).toContain('nothing was read');
      }
      expect(core.store.database.prepare('SELECT object_level FROM backups WHERE id = ?').get(first)).toMatchObject({ object_level: null });
      writeFileSync(path, content);
    }
    expect(await steward(`backup verify ${first}`)).toMatchObject({ outcome: 'done' });
  });

  test('a cut, a missing and an added object are found without reading', async () => {
    const path = join(disk, first, 'database/synapse.dump.zst.age');
    const content = readFileSync(path);
    truncateSync(path, content.length - 1);
    expect(await steward(`backup verify ${first} --level 0`)).toMatchObject({ errorId: 'backup.damaged' });
    rmSync(path);
    expect(await steward(`backup verify ${first} --level 0`)).toMatchObject({ errorId: 'backup.missing' });
    writeFileSync(path, content, { mode: 0o600 });
    const extra = join(disk, first, 'database/more.age');
    writeFileSync(extra, 'x');
    const added = await steward(`backup verify ${first} --level 0`);
    expect(added).toMatchObject({ errorId: 'backup.damaged' });
    expect(JSON.stringify(added.parts.at(-1))).toContain(extra);
    rmSync(extra);
    expect(await steward(`backup verify ${first}`)).toMatchObject({ outcome: 'done' });
    expect(await steward(`backup verify ${first} --level 0`)).toMatchObject({ outcome: 'done' });
    expect(core.store.database.prepare('SELECT object_level FROM backups WHERE id = ?').get(first)).toMatchObject({ object_level: 1 });
  });

  test('a manifest that somebody else signed is not ours', async () => {
    const key = join(dir, 'data/backup-signing.key');
    const held = readFileSync(key);
    rmSync(key);
    expect(await steward(`backup verify ${first}`)).toMatchObject({ outcome: 'failed', errorId: 'backup.foreign' });
    writeFileSync(key, held, { mode: 0o600 });
  });
});

test('with a key of its own Steward opens it and reads it to its end', async () => {
  core.close();
  spawnSync('age-keygen', ['-o', join(dir, 'own.key')]);
  chmodSync(join(dir, 'own.key'), 0o600);
  core = await openSteward({ recipients: [recipient()], identity_file: 'own.key' });
  // Whoever can name a key could open everything with it.
  expect(await steward('backup keys accept', { breakGlass: 'this is a test' })).toMatchObject({ outcome: 'done' });
  expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
  const id = ids().at(-1) ?? '';
  // The media that were there before are sealed to the first epoch, which this key cannot open.
  expect(await steward(`backup verify ${id}`)).toMatchObject({ outcome: 'refused', errorId: 'backup.no-key' });
  for (const held of ids().filter((one) => one !== id)) rmSync(join(disk, held), { recursive: true });
  await steward('backup create');
  expect(await steward('backup verify latest')).toMatchObject({ outcome: 'done' });
  expect(core.store.database.prepare('SELECT object_level FROM backups ORDER BY id DESC LIMIT 1').get()).toMatchObject({ object_level: 2 });
});

describe('faults', () => {
  /** The command in a process of its own, with the store to itself. */
  const shell = (...words: string[]) => {
    const [program, ...args] = [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      main,
      ...words,
      '--config',
      join(dir, 'steward.yaml'),
    ];
    return spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  };
  /** Until it is let go, pg_dump waits for this table. */
  async function locked(table: string, work: () => Promise<void>): Promise<void> {
    const at = { ...postgres.superuser, name: 'synapse' };
    const holding = sql(at, `BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(500)`).catch(() => undefined);
    const seen = (what: string): Promise<string> => sql(at, `SELECT pid FROM pg_stat_activity WHERE ${what} AND pid <> pg_backend_pid()`);
    await until(async () => (await seen(`query LIKE '%pg_sleep(500)%' AND wait_event = 'PgSleep'`)) !== '', 10_000, 'the lock');
    try {
      await work();
    } finally {
      await sql(
        at,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(500)%' AND pid <> pg_backend_pid()`,
      );
      await holding;
    }
  }
  const dumping = (): number[] =>
    spawnSync('pgrep', ['-x', 'pg_dump'])
      .stdout.toString()
      .split('\n')
      .filter((line) => line !== '' && readFileSync(`/proc/${line}/cmdline`, 'utf8').includes(`\0${postgres.port}\0`))
      .map(Number);

  test('pg_dump killed half-way leaves no backup', async () => {
    const before = files();
    await locked('users', async () => {
      const reply = steward('backup create');
      const [pid] = await until(() => (dumping().length > 0 ? dumping() : null), 20_000, 'pg_dump');
      process.kill(pid ?? 0, 'SIGKILL');
      expect(await reply).toMatchObject({ outcome: 'failed', errorId: 'backup.source-failed' });
    });
    expect(files()).toEqual(before);
    expect(core.store.database.prepare(`SELECT count(*) AS n FROM backups WHERE state = 'making'`).get()).toEqual({ n: 0 });
  });

  test('a file that cannot be read leaves no backup', async () => {
    const before = files();
    const key = join(synapse.dir, 'signing.key');
    const held = readFileSync(key);
    rmSync(key);
    expect(await steward('backup create')).toMatchObject({ outcome: 'failed', errorId: 'stack.file-unreadable' });
    writeFileSync(key, held, { mode: 0o600 });
    expect(files()).toEqual(before);
  });

  test('a thread that dies leaves no backup', async () => {
    const before = files();
    const id = await upload('five');
    const path = join(synapse.mediaPath, 'local_content', id.slice(0, 2), id.slice(2, 4), id.slice(4));
    rmSync(path);
    symlinkSync(path, path);
    expect(await steward('backup create')).toMatchObject({ outcome: 'failed', errorId: 'backup.source-failed' });
    rmSync(path);
    writeFileSync(path, 'five');
    expect(files()).toEqual(before);
    expect(core.store.database.prepare(`SELECT count(*) AS n FROM backups WHERE state = 'making'`).get()).toEqual({ n: 0 });
  });

  test('kill -9 half-way leaves no manifest, and the next run takes the rest away', async () => {
    const before = files();
    core.close();
    await locked('users', async () => {
      const child = shell('backup', 'create');
      const ended = new Promise((done) => child.once('close', done));
      await until(() => files().some((file) => file.endsWith('.partial')) && dumping().length > 0, 30_000, 'an unfinished file');
      child.kill('SIGKILL');
      await ended;
    });
    expect(files().filter((file) => !before.includes(file) && !file.endsWith('.partial'))).toEqual([]);
    expect(files().some((file) => file.endsWith('.partial'))).toBe(true);
    await until(() => dumping().length === 0, 20_000, 'pg_dump follows its reader');
    core = await openSteward({ recipients: [recipient()], identity_file: 'own.key' });
    expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
    expect(files().filter((file) => file.endsWith('.partial'))).toEqual([]);
    expect(ids()).toHaveLength(new Set(before.map((file) => file.split('/')[0])).size + 1);
  });

  test('no data of a try-out are left on the machine', () => {
    expect(existsSync(join(dir, 'data/scratch')) ? readdirSync(join(dir, 'data/scratch')) : []).toEqual([]);
  });

  (canMount ? test : test.skip)('a full disk leaves nothing there, and says so', async () => {
    core.close();
    // Random bytes do not compress: the dump is larger than the place.
    await sql(
      { ...postgres.superuser, name: 'synapse' },
      `CREATE TABLE fill AS SELECT md5(random()::text) AS x FROM generate_series(1, 60000)`,
    );
    await sql({ ...postgres.superuser, name: 'synapse' }, `ALTER TABLE fill OWNER TO "synapse-user"`);
    const place = join(dir, 'small');
    mkdirSync(place);
    writeFileSync(join(dir, 'steward.yaml'), config({ recipients: [recipient()] }).replace(disk, place));
    const inside = withMounts(`mount -t tmpfs -o size=1500k tmpfs ${place}`);
    const words = [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      main,
      'backup',
      'create',
      '--config',
      join(dir, 'steward.yaml'),
    ];
    const [program = '', ...args] = [
      ...inside,
      'sh',
      '-c',
      `"$@"; echo "exit $?"; find ${place} -type f; rm -f ${place}/x`,
      'sh',
      ...words,
    ];
    const result = spawnSync(program, args, { encoding: 'utf8' });
    expect(result.stderr + result.stdout).toContain('backup.destination-full');
    expect(result.stdout.trim().split('\n').slice(-1)).toEqual(['exit 1']);
    core = await openSteward({ recipients: [recipient()], identity_file: 'own.key' });
    await sql({ ...postgres.superuser, name: 'synapse' }, `DROP TABLE fill`);
  });
});

test('what was stored is what the manifest says, by sha256sum', () => {
  const id = ids().at(-1) ?? '';
  for (const { name, stored } of manifestOf(id).objects) {
    const content = readFileSync(join(disk, name));
    expect({ name, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') }).toEqual({ name, ...stored });
  }
});
