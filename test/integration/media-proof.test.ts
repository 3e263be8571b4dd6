import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { ensureAge, makeAgeKey } from '../../kit/age.ts';
import { openClient } from '../../kit/client.ts';
import { run } from '../../kit/process.ts';
import { startS3, type S3 } from '../../kit/s3.ts';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { openCore, type Core } from '../../src/core.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { runLine, type ShellReply } from './support/core-shell.ts';

/** All media, and not only the new ones: missing files are told every night, rotten ones once a month; packs die and are made anew. */

jest.setTimeout(240_000);

const bucket = 'backups';
const month = 31 * 86_400_000;

let dir: string;
let s3: S3;
let synapse: Synapse;
let alice: Account;
let core: Core;
let places: Record<'disk' | 'cloud', string>;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'media-proof-'));
  [s3] = await Promise.all([startS3(), ensureAge()]);
  places = { disk: join(dir, 'disk'), cloud: join(s3.root, bucket) };
  const credentials = { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey };
  const eye = new S3Client({ endpoint: s3.url, region: s3.region, forcePathStyle: true, credentials });
  await eye.send(new CreateBucketCommand({ Bucket: bucket }));
  eye.destroy();
  synapse = await startSynapse({ dir: join(dir, 'synapse'), serverName: 'example.org' });
  alice = await synapse.register({ localpart: 'alice', admin: true });
  writeFileSync(join(dir, 'token'), alice.accessToken, { mode: 0o600 });
  writeFileSync(join(dir, 's3-secret'), s3.secretAccessKey, { mode: 0o600 });
  const recipient = await makeAgeKey(join(dir, 'my.key'));
  const cloud = {
    ...{ endpoint: s3.url, region: s3.region, bucket, access_key_id: s3.accessKeyId, secret_access_key_file: 's3-secret' },
  };
  writeFileSync(
    join(dir, 'steward.yaml'),
    stringify({
      data_dir: 'data',
      homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
      stack: { homeserver_config: [synapse.configPath] },
      backup: {
        destinations: { disk: { directory: places.disk }, cloud: { s3: cloud } },
        keys: { recipients: [recipient] },
        retention: { last: 1, daily: 0, weekly: 0, monthly: 0, within: '1s' },
      },
    }),
  );
  core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
}, 600_000);

afterAll(async () => {
  await synapse.dispose();
  await s3.dispose();
  core.close();
  rmSync(dir, { recursive: true, force: true });
});

const upload = async (content: string): Promise<string> =>
  (await openClient({ ...alice, url: synapse.url }).upload(content, 'text/plain', 'file.txt')).split('/').at(-1) ?? '';

const fileOf = (id: string): string => join(synapse.mediaPath, 'local_content', id.slice(0, 2), id.slice(2, 4), id.slice(4));

const steward = (line: string): Promise<ShellReply> => runLine(core, line, { breakGlass: 'test' });

interface Made {
  id: string;
  newMedia: number;
  media: number;
  mediaMissing: number;
  mediaWrong: number;
  mediaChecked: number | null;
  mediaRotten: string[];
  contentLevel: number;
}

async function create(more = ''): Promise<Made> {
  const reply = await steward(`backup create${more}`);
  expect(reply).toMatchObject({ outcome: 'done' });
  return reply.result as Made;
}

/** In Synapse's own database, while nobody else writes there. */
function inSynapse(sql: string, ...values: (string | number)[]): void {
  const database = new DatabaseSync(join(synapse.dir, 'homeserver.db'), { timeout: 10_000 });
  database.prepare(sql).run(...values);
  database.close();
}

const packsIn = (place: string): string[] =>
  readdirSync(place, { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.tar.age') && name.includes('/media/'))
    .sort();

/** Levels of the stored object that the catalogue has of the backups in a destination whose manifests name a pack, by id. */
function levelsOfThoseMadeOf(pack: string, name: keyof typeof places): Record<string, unknown> {
  const rows = core.store.database.prepare("SELECT id, object_level FROM backups WHERE destination = ? AND state = 'complete'").all(name);
  const isMadeOf = (id: string): boolean => readFileSync(join(places[name], id, 'manifest.json'), 'utf8').includes(`"${pack}"`);
  return Object.fromEntries(rows.filter(({ id }) => isMadeOf(String(id))).map(({ id, object_level: level }) => [String(id), level]));
}

function flip(path: string): void {
  const content = readFileSync(path);
  content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
  writeFileSync(path, content);
}

let old: string;
let gone: string;

test('what has no file is told by every backup, however old it is, until it is back', async () => {
  old = await upload('old');
  gone = await upload('gone');
  const held = readFileSync(fileOf(gone));
  rmSync(fileOf(gone));
  expect(await create()).toMatchObject({ newMedia: 1, mediaMissing: 1, mediaChecked: 2, mediaRotten: [gone], contentLevel: 3 });
  // Far before what a nightly run looks at again.
  inSynapse('UPDATE local_media_repository SET created_ts = created_ts - ?', 2 * month);
  const newer = await upload('newer');
  await create();
  const again = await create();
  expect(again).toMatchObject({ newMedia: 0, mediaMissing: 1 });
  // What has no file makes no pack.
  for (const place of Object.values(places)) expect(packsIn(place).filter((name) => name.startsWith(again.id))).toEqual([]);
  writeFileSync(fileOf(gone), held);
  expect(await create()).toMatchObject({ newMedia: 1, media: 3, mediaMissing: 0 });
  // And one that the homeserver has forgotten is missed no more.
  rmSync(fileOf(newer));
  inSynapse('DELETE FROM local_media_repository WHERE media_id = ?', newer);
  expect(await create()).toMatchObject({ mediaMissing: 0 });
});

test('an old file that has rotted is found and named once a month, and when asked', async () => {
  const held = readFileSync(fileOf(old));
  writeFileSync(fileOf(old), 'odl');
  expect(await create()).toMatchObject({ mediaChecked: null, mediaRotten: [], contentLevel: 3 });
  const found = await steward('backup create --all-media');
  expect(found.result).toMatchObject({ mediaChecked: 2, mediaRotten: [old], contentLevel: 3 });
  expect(JSON.stringify(found.parts)).toContain(old);
  writeFileSync(fileOf(old), held);
  // A month later.
  core.store.database.prepare('UPDATE media_checks SET at = at - ?').run(month);
  expect(await create()).toMatchObject({ mediaChecked: 2, mediaRotten: [], contentLevel: 4 });
  expect(await create()).toMatchObject({ mediaChecked: null, contentLevel: 3 });
});

test.each(['disk', 'cloud'] as const)('a pack that has rotted in %s is named, and made anew from live media', async (name) => {
  const place = places[name];
  const [pack = ''] = packsIn(place);
  const path = join(place, pack);
  const held = readFileSync(path);
  const other = name === 'disk' ? 'cloud' : 'disk';
  const [before, elsewhere] = [levelsOfThoseMadeOf(pack, name), levelsOfThoseMadeOf(pack, other)];
  expect(Object.values(before).filter((level) => level === 1).length).toBeGreaterThan(1);
  flip(path);
  const found = await steward('backup create --all-media');
  expect(found).toMatchObject({ outcome: 'failed', errorId: 'backup.not-everywhere' });
  expect(JSON.stringify(found.parts)).toContain('is not what was stored');
  // Of none that is made of it a restore would be whole.
  const now = Object.values(levelsOfThoseMadeOf(pack, name));
  expect(now).toEqual([...Object.values(before), 1].map(() => null));
  expect(levelsOfThoseMadeOf(pack, other)).toMatchObject(elsewhere);
  const next = await create();
  expect(packsIn(place).some((one) => one.startsWith(next.id))).toBe(true);
  expect(await steward('backup verify latest')).toMatchObject({ outcome: 'done' });
  writeFileSync(path, held);
});

test('one that `backup verify` finds is made anew too, and each destination is told apart', async () => {
  await create();
  const pack = packsIn(places.cloud).at(-1) ?? '';
  const before = levelsOfThoseMadeOf(pack, 'cloud');
  expect(Object.values(before)).toEqual([1, 1]);
  flip(join(places.cloud, pack));
  const reply = await steward('backup verify latest');
  expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
  expect(JSON.stringify(reply.parts)).toContain('disk is what was written: L1, read and hashed;');
  expect(JSON.stringify(reply.parts)).toContain(`cloud: cannot read ${pack}: its content is not what was stored`);
  expect(levelsOfThoseMadeOf(pack, 'cloud')).toEqual(Object.fromEntries(Object.keys(before).map((id) => [id, null])));
  await create();
  const now = await steward('backup verify latest');
  expect(now.result).toMatchObject({
    destinations: [
      { destination: 'disk', objectLevel: 1 },
      { destination: 'cloud', objectLevel: 1 },
    ],
  });
});

test('what is damaged is told, and is not proven, also where the destination stumbles over another backup meanwhile', async () => {
  const { id: other } = await create();
  const { id } = await create();
  const objectLevel = (): unknown =>
    core.store.database.prepare("SELECT object_level FROM backups WHERE id = ? AND destination = 'disk'").get(id)?.['object_level'];
  const manifest = join(places.disk, other, 'manifest.json');
  const dump = join(places.disk, id, 'database/homeserver.db.zst.age');
  renameSync(manifest, `${manifest}.held`);
  // Who looks at it fails, though it is there: a link that leads to itself.
  symlinkSync(manifest, manifest);
  flip(dump);
  const before = objectLevel();
  const reply = await steward(`backup verify ${id} --from disk`);
  flip(dump);
  renameSync(`${manifest}.held`, manifest);
  expect(before).toBe(1);
  expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
  expect(objectLevel()).toBe(null);
  expect(await steward(`backup verify ${id} --from disk`)).toMatchObject({ outcome: 'done' });
});

test('a pack whose media are all gone goes with the last backup that is made of it', async () => {
  const last = await upload('last');
  const before = await create();
  const dead = Object.values(places).map((place) => join(place, before.id, 'media/pack-0001.tar.age'));
  expect(dead.map((path) => existsSync(path))).toEqual([true, true]);
  inSynapse('DELETE FROM local_media_repository WHERE media_id = ?', last);
  rmSync(fileOf(last));
  // The backup that stays is made of it.
  expect(await steward('backup prune')).toMatchObject({ outcome: 'done' });
  expect(dead.map((path) => existsSync(path))).toEqual([true, true]);
  // What was made within a second of the newest is kept.
  await sleep(1100);
  const after = await create();
  // Of what the first test has deleted too.
  expect([before.media, after.media]).toEqual([4, 2]);
  expect(await steward('backup prune')).toMatchObject({ outcome: 'done' });
  expect(dead.map((path) => existsSync(path))).toEqual([false, false]);
  expect(await steward('backup verify latest')).toMatchObject({ outcome: 'done' });
  // No pack is left that the backup which stays is not made of.
  for (const place of Object.values(places)) {
    const manifest = readFileSync(join(place, after.id, 'manifest.json'), 'utf8');
    for (const pack of packsIn(place)) expect(manifest).toContain(pack);
  }
});

test('where a destination has none, all are compared as they are copied', async () => {
  const lose = (place: string): void => {
    for (const pack of packsIn(place)) rmSync(join(place, pack));
  };
  const checkedAt = (): unknown[] => core.store.database.prepare('SELECT at FROM media_checks ORDER BY destination').all();
  core.store.database.prepare('UPDATE media_checks SET at = at - 1000').run();
  const [cloud, disk] = checkedAt();
  const [one = ''] = packsIn(places.cloud);
  lose(places.cloud);
  // In the other one nobody has looked at them.
  expect(await create()).toMatchObject({ mediaChecked: null, contentLevel: 3 });
  expect(checkedAt()).toEqual([expect.not.objectContaining(cloud as object), disk]);
  expect(Object.values(levelsOfThoseMadeOf(one, 'cloud'))).toEqual([null]);
  lose(places.cloud);
  lose(places.disk);
  expect(await create()).toMatchObject({ newMedia: 2, mediaChecked: 2, mediaRotten: [], contentLevel: 4 });
  // As `backup scan` leaves a new catalogue: what is held is known, and not whether it was looked at.
  core.store.database.exec('DELETE FROM media_checks; DELETE FROM media_until');
  expect(await create()).toMatchObject({ newMedia: 0, mediaChecked: null, contentLevel: 3 });
  expect(await create()).toMatchObject({ newMedia: 0, mediaChecked: 2, contentLevel: 4 });
});

test.each(['a pack gone', 'a file back'])(
  'killed after any commit of a backup that finds %s, the next one holds all media, however old they are',
  async (found) => {
    for (const content of ['one', 'two']) await upload(`${found}, ${content}`);
    const back = await upload(found);
    const content = readFileSync(fileOf(back));
    rmSync(fileOf(back));
    await create(' --to disk');
    // Far before what a run looks at again.
    inSynapse('UPDATE local_media_repository SET created_ts = created_ts - ?', 2 * month);
    await upload(`${found}, of today`);
    await create(' --to disk');
    writeFileSync(fileOf(back), content);
    const ids = (): string[] => readdirSync(places.disk).filter((name) => /^\d/.test(name));
    const wanted = readdirSync(join(synapse.mediaPath, 'local_content'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(synapse.mediaPath, join(entry.parentPath, entry.name)))
      .sort();
    expect(wanted.length).toBeGreaterThan(2);
    core.close();
    const before = join(dir, 'before');
    rmSync(before, { recursive: true, force: true });
    for (const name of ['data', 'disk']) cpSync(join(dir, name), join(before, name), { recursive: true });
    const shell = async (at: string): Promise<number | null> => {
      const words = ['backup', 'create', '--to', 'disk', '--config', join(dir, 'steward.yaml')];
      const args = ['--disable-warning=ExperimentalWarning', resolve(import.meta.dirname, '../../src/main.ts'), ...words];
      const [status] = (await once(
        spawn(process.execPath, args, { env: { ...process.env, STEWARD_CRASH_AT: at }, stdio: 'ignore' }),
        'close',
      )) as [number | null];
      return status;
    };
    /** By the programs that one would type. */
    const held = async (): Promise<string[]> => {
      const newest = join(places.disk, ids().sort().at(-1) ?? '');
      const { objects } = JSON.parse(readFileSync(join(newest, 'manifest.json'), 'utf8')) as { objects: { role: string; name: string }[] };
      const packs = objects.filter(({ role }) => role === 'media').map(({ name }) => join(places.disk, name));
      const open = `age -d -i '${join(dir, 'my.key')}' '${newest}'/keys/epoch-*.age > '${join(dir, 'epoch.key')}'`;
      const read = packs.map((pack) => `age -d -i '${join(dir, 'epoch.key')}' '${pack}' | tar -t`);
      return (await run(['bash', '-e', '-o', 'pipefail', '-c', [open, ...read].join('\n')])).trim().split('\n').sort();
    };
    let killed = 0;
    for (let commit = 1; commit < 60; commit += 1) {
      for (const name of ['data', 'disk']) {
        rmSync(join(dir, name), { recursive: true });
        cpSync(join(before, name), join(dir, name), { recursive: true });
      }
      if (found === 'a pack gone') rmSync(join(places.disk, packsIn(places.disk)[0] ?? ''));
      if ((await shell(`after:${commit}`)) === 0) break;
      killed += 1;
      expect(await shell('')).toBe(0);
      expect({ commit, held: await held() }).toEqual({ commit, held: wanted });
    }
    expect(killed).toBeGreaterThan(4);
    core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
  },
);
