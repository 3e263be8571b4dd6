import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { spawn, spawnSync } from 'node:child_process';
import { createHash, createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { stringify } from 'yaml';
import { ensureAge, makeAgeKey } from '../../kit/age.ts';
import { startProxy, type Proxy, type ProxiedRequest } from '../../kit/proxy.ts';
import { startS3, type S3 } from '../../kit/s3.ts';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { signRecord } from '../../src/backup/manifest.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { openCore, type Core } from '../../src/core.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { runLine, type ShellReply } from './support/core-shell.ts';
import { canMount, withMounts } from './support/namespace.ts';

/** One homeserver, a folder and a bucket: what each has is read on the disk, past the code under test. */

jest.setTimeout(120_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');
const bucket = 'backups';

let dir: string;
let disk: string;
/** The folder that is the bucket. */
let cloud: string;
let s3: S3;
let proxy: Proxy;
let synapse: Synapse;
let alice: Account;
let recipient: string;
let core: Core;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'destinations-'));
  disk = join(dir, 'disk');
  [s3] = await Promise.all([startS3(), ensureAge()]);
  cloud = join(s3.root, bucket);
  proxy = await startProxy(s3.url);
  const eye = new S3Client({
    endpoint: s3.url,
    region: s3.region,
    forcePathStyle: true,
    credentials: { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey },
  });
  await eye.send(new CreateBucketCommand({ Bucket: bucket }));
  eye.destroy();
  synapse = await startSynapse({ dir: join(dir, 'synapse'), serverName: 'example.org' });
  alice = await synapse.register({ localpart: 'alice', admin: true });
  await upload('one');
  for (const [name, content] of [
    ['token', alice.accessToken],
    ['s3-secret', s3.secretAccessKey],
  ] as const)
    writeFileSync(join(dir, name), content, { mode: 0o600 });
  recipient = await makeAgeKey(join(dir, 'my.key'));
  await makeAgeKey(join(dir, 'own.key'));
  chmodSync(join(dir, 'own.key'), 0o600);
  core = await openSteward();
}, 180_000);

afterEach(() => {
  proxy.assertAllReached();
});

afterAll(async () => {
  await synapse.dispose();
  await proxy.stop();
  await s3.dispose();
  // Last: where it was never opened, nothing else is left running.
  core.close();
  rmSync(dir, { recursive: true, force: true });
});

function openSteward(more: Record<string, unknown> = {}): Promise<Core> {
  const place = {
    ...{ endpoint: proxy.url, region: s3.region, bucket, access_key_id: s3.accessKeyId, secret_access_key_file: 's3-secret' },
  };
  writeFileSync(
    join(dir, 'steward.yaml'),
    stringify({
      data_dir: 'data',
      homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
      stack: { homeserver_config: [synapse.configPath] },
      backup: {
        destinations: { disk: { directory: disk }, cloud: { s3: place } },
        keys: { recipients: [recipient], identity_file: 'own.key' },
      },
      ...more,
    }),
  );
  return openCore(new Reloadable(join(dir, 'steward.yaml'), { STEWARD_TIME_ZONE: 'Europe/Berlin' }), silentLog);
}

async function upload(content: string | Buffer): Promise<void> {
  await fetch(`${synapse.url}/_matrix/media/v3/upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${alice.accessToken}`, 'content-type': 'text/plain' },
    body: new Blob([content]),
  });
}

/** Yes to every prompt; nobody else is asked. */
async function steward(line: string): Promise<ShellReply & { said: string }> {
  const reply = await runLine(core, line, { breakGlass: 'test' });
  return { ...reply, said: JSON.stringify(reply.parts) };
}

/** What a read answers with `--json`. */
async function asked(line: string): Promise<unknown> {
  let json = '';
  for await (const message of core.session().run({ words: [...line.split(' '), '--json'], items: null, secrets: {} }))
    if (message.type === 'data') json += message.chunk;
  return JSON.parse(json) as unknown;
}

interface Listed {
  id: string;
  safe: boolean;
  destinations: { name: string; objectLevel: number | null }[];
}
const listed = async (): Promise<Listed[]> => (await asked('backup list')) as Listed[];
const newest = async (): Promise<Listed | undefined> => (await listed())[0];

const filesIn = (place: string): string[] =>
  existsSync(place)
    ? readdirSync(place, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(place.length + 1))
        // versitygw keeps what it has not put together yet in a folder of its own.
        .filter((name) => !name.startsWith('.sgwtmp'))
        .sort()
    : [];
const idsIn = (place: string): string[] =>
  [...new Set(filesIn(place).map((name) => name.split('/')[0] ?? ''))].filter((name) => /^\d/.test(name));

interface Manifest {
  objects: { role: string; name: string; stored: { sha256: string } }[];
  epochs: { object: string; stored: { sha256: string } }[];
  media: { files: number; newFiles: number };
}
const manifestOf = (place: string, id: string): Manifest => JSON.parse(readFileSync(join(place, id, 'manifest.json'), 'utf8')) as Manifest;

/** Every object that a manifest names is there, and is what was stored. */
function assertWhole(place: string, id: string): void {
  const { objects, epochs } = manifestOf(place, id);
  for (const { name, stored } of [...objects, ...epochs.map(({ object, stored: at }) => ({ name: object, stored: at }))])
    expect({
      name,
      sha256: createHash('sha256')
        .update(readFileSync(join(place, name)))
        .digest('hex'),
    }).toEqual({
      name,
      sha256: stored.sha256,
    });
}

/** Makes the manifest on the disk say that its dump came to 400 GB. @returns what takes that back */
function makeDumpLarge(id: string): () => void {
  const path = join(disk, id, 'manifest.json');
  const held = readFileSync(path, 'utf8');
  const manifest = JSON.parse(held) as Manifest & Record<string, unknown>;
  for (const { role, stored } of manifest.objects) if (role === 'database') Object.assign(stored, { bytes: 400e9 });
  delete manifest['signature'];
  writeFileSync(path, signRecord(manifest, createPrivateKey(readFileSync(join(dir, 'data/backup-signing.key')))).text);
  return () => {
    writeFileSync(path, held);
  };
}

const isPutOf =
  (what: string) =>
  ({ method, path }: Readonly<ProxiedRequest>): boolean =>
    method === 'PUT' && path.includes(what);

let first: string;

describe('backup create', () => {
  test('goes to each destination from one dump, and is safe', async () => {
    const reply = await steward('backup create');
    expect(reply).toMatchObject({ outcome: 'done', result: { safe: true, contentLevel: 4 } });
    [first = ''] = idsIn(disk);
    expect(filesIn(cloud)).toEqual(filesIn(disk));
    for (const place of [disk, cloud]) assertWhole(place, first);
    for (const { name } of manifestOf(disk, first).objects)
      expect(readFileSync(join(cloud, name)).equals(readFileSync(join(disk, name)))).toBe(true);
    expect(await listed()).toMatchObject([
      {
        id: first,
        safe: true,
        destinations: [
          { name: 'disk', objectLevel: 1 },
          { name: 'cloud', objectLevel: 1 },
        ],
      },
    ]);
  });

  test('the rescue sheet says where the bucket is, and the backup holds what the environment had configured', () => {
    const sheet = readFileSync(join(cloud, 'RESCUE.txt'), 'utf8');
    expect(sheet).toBe(readFileSync(join(disk, 'RESCUE.txt'), 'utf8'));
    for (const what of [`s3://${bucket}`, proxy.url, s3.region, s3.accessKeyId, 'STEWARD_TIME_ZONE']) expect(sheet).toContain(what);
    expect(sheet).not.toContain(s3.secretAccessKey);
    expect(sheet).not.toContain('Europe/Berlin');
    const script = `cd ${cloud}; age -d -i ${dir}/my.key rescue/epoch-*.age > ${dir}/epoch.key; age -d -i ${dir}/epoch.key ${first}/steward/steward.tar.age | tar -x -O -f - --wildcards '*/data/steward.env' '*/s3-secret'`;
    const { stdout } = spawnSync('bash', ['-e', '-o', 'pipefail', '-c', script], { encoding: 'utf8' });
    expect(stdout).toContain('STEWARD_TIME_ZONE=Europe/Berlin\n');
    expect(stdout).toContain(s3.secretAccessKey);
  });

  test('with --to goes to one, and is not safe', async () => {
    await upload('two');
    expect(await steward('backup create --to cloud')).toMatchObject({ outcome: 'done', result: { safe: false } });
    const id = idsIn(cloud).at(-1) ?? '';
    expect([idsIn(cloud), idsIn(disk)]).toEqual([[first, id], [first]]);
    expect(manifestOf(cloud, id).media).toMatchObject({ files: 2, newFiles: 1 });
    expect(await listed()).toMatchObject([{ id, safe: false, destinations: [{ name: 'cloud' }] }, { id: first }]);
  });

  test('takes to each destination what only it lacks, under names that no other object has', async () => {
    await upload('three');
    expect(await steward('backup create')).toMatchObject({ outcome: 'done', result: { safe: true } });
    const id = idsIn(cloud).at(-1) ?? '';
    expect(manifestOf(cloud, id).media).toMatchObject({ files: 3, newFiles: 1 });
    expect(manifestOf(disk, id).media).toMatchObject({ files: 3, newFiles: 2 });
    for (const place of [disk, cloud]) assertWhole(place, id);
    const packs = (place: string): string[] =>
      filesIn(place).filter((name) => name.startsWith(`${id}/media/`) && name.endsWith('.tar.age'));
    expect(packs(cloud)).toEqual([`${id}/media/pack-0001.tar.age`]);
    expect(packs(disk)).toEqual([`${id}/media/pack-0001.tar.age`, `${id}/media/pack-0002.tar.age`]);
  });
});

describe('a destination that fails', () => {
  test.each<[string, string]>([
    ['with the dump', 'database/'],
    ['with media', 'media/'],
    ['with the keys', 'keys/'],
    ['with the manifest', 'manifest.json'],
  ])('%s leaves nothing there, and the backup in the other', async (_, what) => {
    await upload(what);
    const before = filesIn(cloud);
    const fault = proxy.fault({
      name: what,
      match: isPutOf(what),
      action: { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' },
      times: Infinity,
    });
    const reply = await steward('backup create');
    fault.remove();
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.not-everywhere' });
    expect(reply.said).toContain('AccessDenied (403)');
    const id = idsIn(disk).at(-1) ?? '';
    expect(reply.said).toContain(`${id} is in disk, proven`);
    assertWhole(disk, id);
    expect(filesIn(cloud)).toEqual(before);
    expect(await newest()).toMatchObject({ id, safe: false, destinations: [{ name: 'disk' }] });
    expect(core.store.database.prepare("SELECT count(*) AS n FROM backups WHERE state = 'making'").get()).toEqual({ n: 0 });
    const audited = core.store.database.prepare("SELECT record FROM audit WHERE record LIKE '%backup.not-everywhere%'").all();
    expect(audited.length).toBeGreaterThan(0);
  });

  (canMount ? test : test.skip)('full half-way has nothing of it, and the other has it', async () => {
    const small = join(dir, 'small');
    mkdirSync(small);
    const alone = join(dir, 'alone');
    mkdirSync(alone, { mode: 0o700 });
    for (const name of ['token', 'my.key']) cpSync(join(dir, name), join(alone, name));
    await upload(randomBytes(3 << 20));
    writeFileSync(
      join(alone, 'steward.yaml'),
      stringify({
        data_dir: 'data',
        homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
        stack: { homeserver_config: [synapse.configPath] },
        backup: {
          destinations: { small: { directory: small }, large: { directory: join(alone, 'large') } },
          keys: { recipients: [recipient] },
        },
      }),
    );
    const words = [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      main,
      'backup',
      'create',
      '--config',
      join(alone, 'steward.yaml'),
    ];
    const [program = '', ...args] = [
      ...withMounts(`mount -t tmpfs -o size=2000k tmpfs ${small}`),
      ...['sh', '-c', `"$@"; echo "exit $?"; find ${small} -type f; :`, 'sh', ...words],
    ];
    const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    expect(stdout + stderr).toContain('backup.not-everywhere');
    expect(stdout + stderr).toMatch(/small: \S+ is full/);
    expect(stdout.trim().split('\n').slice(-1)).toEqual(['exit 1']);
    const [id = ''] = idsIn(join(alone, 'large'));
    assertWhole(join(alone, 'large'), id);
  });

  test('after its manifest has the backup, not proven', async () => {
    const fault = proxy.fault({
      name: 'proof',
      match: isPutOf('proof.json'),
      action: { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' },
      times: Infinity,
    });
    const reply = await steward('backup create');
    fault.remove();
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.not-everywhere' });
    const id = idsIn(disk).at(-1) ?? '';
    for (const place of [disk, cloud]) assertWhole(place, id);
    expect(await newest()).toMatchObject({ id, safe: false });
  });

  test('from the start does not keep the backup out of the other', async () => {
    const held = `${disk}-held`;
    renameSync(disk, held);
    writeFileSync(disk, 'a file where the folder was');
    const reply = await steward('backup create');
    rmSync(disk);
    renameSync(held, disk);
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.not-everywhere' });
    assertWhole(cloud, idsIn(cloud).at(-1) ?? '');
  });

  test('with all others is a failure of the whole, and leaves nothing', async () => {
    const [before, held] = [filesIn(cloud), `${disk}-held`];
    renameSync(disk, held);
    writeFileSync(disk, 'a file where the folder was');
    const fault = proxy.fault({ name: 'both', match: isPutOf('database/'), action: { status: 403, body: '' }, times: Infinity });
    const reply = await steward('backup create');
    fault.remove();
    rmSync(disk);
    renameSync(held, disk);
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.destination-empty' });
    expect(filesIn(cloud)).toEqual(before);
  });

  test('as it takes no object so large is left out before anything is uploaded', async () => {
    const putAgain = makeDumpLarge(idsIn(disk).at(-1) ?? '');
    const [before, sent] = [filesIn(cloud), proxy.requests.length];
    const alone = await steward('backup create --to cloud');
    expect(alone).toMatchObject({ outcome: 'failed', errorId: 'backup.object-too-large' });
    expect(alone.said).toContain(`s3://${bucket} takes objects of 336 GB at most, and one has at least 400 GB`);
    const reply = await steward('backup create');
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.not-everywhere' });
    expect(reply.said).toContain(`cloud: s3://${bucket} takes objects of 336 GB at most`);
    // It is as large the next time.
    expect(reply.said).toContain('pgBackRest or Barman');
    expect(reply.said).not.toContain('backup copy');
    expect(proxy.requests.slice(sent).filter(({ method }) => method === 'PUT' || method === 'POST')).toEqual([]);
    putAgain();
    const id = idsIn(disk).at(-1) ?? '';
    assertWhole(disk, id);

    const again = makeDumpLarge(id);
    const copy = await steward(`backup copy ${id} --to cloud`);
    again();
    expect(copy).toMatchObject({ outcome: 'failed', errorId: 'backup.object-too-large' });
    expect(filesIn(cloud)).toEqual(before);
    // What the last dump came to is what counts.
    expect(await steward('backup create --to cloud')).toMatchObject({ outcome: 'done' });
  });

  test('whose disk is not mounted has no backup on the disk below, and the other has it; a scan makes it a new place', async () => {
    const held = `${disk}-held`;
    renameSync(disk, held);
    mkdirSync(disk);
    try {
      const reply = await steward('backup create');
      expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.not-everywhere' });
      expect(reply.said).toMatch(/has none of the backups that were put there/);
      const id = idsIn(cloud).at(-1) ?? '';
      assertWhole(cloud, id);
      expect(await steward('backup create --to disk')).toMatchObject({ outcome: 'failed', errorId: 'backup.destination-empty' });
      expect(await steward(`backup copy ${id} --to disk`)).toMatchObject({ outcome: 'failed', errorId: 'backup.destination-empty' });
      expect(readdirSync(disk)).toEqual([]);
      // A sheet that lies there all the same shows nothing.
      writeFileSync(join(disk, 'RESCUE.txt'), readFileSync(join(held, 'RESCUE.txt')));
      expect(await steward('backup create --to disk')).toMatchObject({ outcome: 'failed', errorId: 'backup.destination-empty' });
      expect(readdirSync(disk)).toEqual(['RESCUE.txt']);
      expect(await steward('backup scan')).toMatchObject({ outcome: 'done' });
      expect(await steward('backup create --to disk')).toMatchObject({ outcome: 'done' });
    } finally {
      rmSync(disk, { recursive: true });
      renameSync(held, disk);
    }
    expect(await steward('backup scan')).toMatchObject({ outcome: 'done' });
  });

  test('gets what it missed with the next one', async () => {
    expect(await steward('backup create')).toMatchObject({ outcome: 'done', result: { safe: true } });
    const id = idsIn(cloud).at(-1) ?? '';
    for (const place of [disk, cloud]) {
      assertWhole(place, id);
      expect(manifestOf(place, id).media.files).toBe(8);
    }
  });
});

test('killed at any commit, a backup to two destinations is whole in each that has it, and the next one takes the rest away', async () => {
  const alone = join(dir, 'killed');
  const places = ['one', 'two'].map((name) => join(alone, name));
  mkdirSync(alone, { mode: 0o700 });
  cpSync(join(dir, 'token'), join(alone, 'token'));
  writeFileSync(
    join(alone, 'steward.yaml'),
    stringify({
      data_dir: 'data',
      homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
      stack: { homeserver_config: [synapse.configPath] },
      backup: {
        destinations: Object.fromEntries(places.map((directory, n) => [`place${n}`, { directory }])),
        keys: { recipients: [recipient] },
      },
    }),
  );
  const shell = async (at: string): Promise<number | null> => {
    const args = ['--disable-warning=ExperimentalWarning', main, 'backup', 'create', '--config', join(alone, 'steward.yaml')];
    const child = spawn(process.execPath, args, { env: { ...process.env, STEWARD_CRASH_AT: at }, stdio: 'ignore' });
    const [status] = (await once(child, 'close')) as [number | null];
    return status;
  };
  const whole = (place: string): string[] => idsIn(place).filter((id) => existsSync(join(place, id, 'manifest.json')));
  let killed = 0;
  for (let commit = 1; commit < 60; commit += 1) {
    const status = await shell(`before:${commit}`);
    for (const place of places) for (const id of whole(place)) assertWhole(place, id);
    if (status === 0) break;
    killed += 1;
    // The same store goes on: each second one is ended by the next kill.
    if (killed % 2 === 0) continue;
    expect(await shell('')).toBe(0);
    for (const place of places) expect(whole(place)).toEqual(idsIn(place));
  }
  expect(killed).toBeGreaterThan(4);
  expect(await shell('')).toBe(0);
  for (const place of places) {
    expect(whole(place)).toEqual(idsIn(place));
    for (const id of whole(place)) assertWhole(place, id);
  }
  const store = new DatabaseSync(join(alone, 'data/steward.db'));
  const rows = store.prepare("SELECT id, destination FROM backups WHERE state = 'complete' ORDER BY destination, id").all();
  store.close();
  expect(rows).toEqual(places.flatMap((place, n) => whole(place).map((id) => ({ id, destination: `place${n}` }))));
}, 300_000);

describe('backup copy', () => {
  /** Its own media, those of an earlier backup, and a pack that the other has under another name. */
  let id: string;

  beforeAll(async () => {
    await upload('copied');
    expect(await steward('backup create --to disk')).toMatchObject({ outcome: 'done' });
    id = idsIn(disk).at(-1) ?? '';
  });

  const states = (): Record<string, unknown>[] =>
    core.store.database.prepare("SELECT id, state FROM backups WHERE destination = 'cloud' AND state <> 'complete'").all();

  test('that fails leaves nothing there', async () => {
    const [files, before] = [filesIn(cloud), states()];
    for (const what of ['database/', 'media/pack-0001.files', 'config/', 'RESTORE.txt', 'manifest.json']) {
      const fault = proxy.fault({
        name: what,
        match: isPutOf(`${id}/${what}`),
        action: { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' },
        times: Infinity,
      });
      const reply = await steward(`backup copy ${id} --to cloud`);
      fault.remove();
      expect({ what, ...reply }).toMatchObject({ what, outcome: 'failed', errorId: 'backup.destination-failed' });
      expect(filesIn(cloud)).toEqual(files);
      expect(states()).toEqual(before);
    }
  });

  test('of what is not whole is refused, and leaves nothing there', async () => {
    const path = join(disk, manifestOf(disk, id).objects.find(({ role }) => role === 'database')?.name ?? '');
    const [held, before] = [readFileSync(path), filesIn(cloud)];
    const changed = Buffer.from(held);
    changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
    writeFileSync(path, changed);
    expect(await steward(`backup copy ${id} --to cloud`)).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
    expect(filesIn(cloud)).toEqual(before);
    writeFileSync(path, held);
  });

  test('takes it there byte for byte, with the media that it is made of, and makes it safe', async () => {
    const reply = await steward(`backup copy ${id} --to cloud`);
    expect({ ...reply, parts: [] }).toMatchObject({ outcome: 'done', result: { id, to: 'cloud', objectLevel: 1, safe: true } });
    for (const name of filesIn(disk).filter((file) => file.startsWith(`${id}/`)))
      expect({ name, same: readFileSync(join(cloud, name)).equals(readFileSync(join(disk, name))) }).toEqual({ name, same: true });
    assertWhole(cloud, id);
    expect(await newest()).toMatchObject({ id, safe: true });
    expect(await steward(`backup verify ${id} --from cloud`)).toMatchObject({ outcome: 'done' });
    // Media that lie in the folder of an earlier backup do not belong to that one, and do no harm.
    for (const earlier of idsIn(cloud).filter((one) => existsSync(join(cloud, one, 'manifest.json'))))
      expect({ earlier, ...(await steward(`backup verify ${earlier} --level 1 --from cloud`)) }).toMatchObject({
        earlier,
        outcome: 'done',
      });
  });

  test('again is refused; of a damaged one it puts what is damaged', async () => {
    expect(await steward(`backup copy ${id} --to cloud`)).toMatchObject({ outcome: 'refused', errorId: 'backup.exists' });
    const [one, other] = manifestOf(cloud, id).objects.map(({ name }) => join(cloud, name));
    writeFileSync(one ?? '', readFileSync(one ?? '').subarray(1));
    rmSync(other ?? '');
    for (const line of [`backup verify ${id} --from cloud`, `backup verify ${id}`]) {
      const found = await steward(line);
      expect(found).toMatchObject({ outcome: 'failed' });
      expect(found.said).toContain(`Restore from disk; `);
      expect(found.said).toContain(`backup copy ${id} --to cloud`);
    }
    expect(await steward(`backup copy ${id} --to cloud`)).toMatchObject({ outcome: 'done', result: { objects: 2, safe: true } });
    assertWhole(cloud, id);
    expect(await steward(`backup verify ${id} --from cloud`)).toMatchObject({ outcome: 'done' });
  });

  test('of one whose proof of the content was changed it writes what another place has; without one nothing counts as proven', async () => {
    const at = (place: string): string => join(place, id, 'proof.json');
    const [held, ofDisk] = [readFileSync(at(cloud), 'utf8'), readFileSync(at(disk), 'utf8')];
    const spoil = (place: string, text: string): void => {
      writeFileSync(at(place), text.replace('"level": 3', '"level": 4'));
    };
    for (const [place, text] of [
      [cloud, held],
      [disk, ofDisk],
    ] as const) {
      spoil(place, text);
      const found = await steward(`backup verify ${id} --from ${place === cloud ? 'cloud' : 'disk'}`);
      expect(found).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
      expect(found.said).toContain(`backup copy ${id} --to ${place === cloud ? 'cloud' : 'disk'}`);
    }
    expect(await steward(`backup copy ${id} --to cloud`)).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
    const rows = core.store.database.prepare('SELECT object_level AS level FROM backups WHERE id = ?').all(id);
    expect(rows.map(({ level }) => level)).toEqual([null, null]);

    writeFileSync(at(disk), ofDisk);
    expect(await steward(`backup verify ${id} --from disk`)).toMatchObject({ outcome: 'done' });
    expect(await steward(`backup copy ${id} --to cloud`)).toMatchObject({ outcome: 'done', result: { objects: 0, safe: true } });
    const parts = (text: string) => {
      const { manifest, content } = JSON.parse(text) as { manifest: string; content: unknown };
      return { manifest, content };
    };
    expect(parts(readFileSync(at(cloud), 'utf8'))).toEqual(parts(held));
    expect(await steward(`backup verify ${id} --from cloud`)).toMatchObject({ outcome: 'done' });
  });

  test('killed at any commit leaves no backup there that is not whole; the same command goes on, a prune takes the rest away', async () => {
    await upload('killed');
    expect(await steward('backup create --to disk')).toMatchObject({ outcome: 'done' });
    id = idsIn(disk).at(-1) ?? '';
    core.close();
    const copies = join(dir, 'copies');
    cpSync(join(dir, 'data'), join(copies, 'data'), { recursive: true });
    cpSync(cloud, join(copies, 'cloud'), { recursive: true });
    const [before, env] = [filesIn(cloud), (at: string) => ({ ...process.env, STEWARD_CRASH_AT: at })];
    // The proxy to the bucket lives in this process.
    const shell = async (at: string, ...words: string[]): Promise<number | null> => {
      const args = ['--disable-warning=ExperimentalWarning', main, ...words, '--config', join(dir, 'steward.yaml')];
      const [status] = (await once(spawn(process.execPath, args, { env: env(at), stdio: 'ignore' }), 'close')) as [number | null];
      return status;
    };
    let killed = 0;
    for (const side of ['before', 'after']) {
      for (let commit = 1; commit < 60; commit += 1) {
        const status = await shell(`${side}:${commit}`, 'backup', 'copy', id, '--to', 'cloud');
        if (status !== 0) {
          killed += 1;
          for (const there of idsIn(cloud).filter((one) => existsSync(join(cloud, one, 'manifest.json')))) assertWhole(cloud, there);
          // Every other time the rest is taken away first.
          if (killed % 2 === 0 && !existsSync(join(cloud, id, 'manifest.json'))) {
            expect(await shell('', 'backup', 'prune', '--from', 'cloud', '--break-glass', 'test')).toBe(0);
            expect(filesIn(cloud)).toEqual(before);
          }
          const state = await shell('', 'backup', 'copy', id, '--to', 'cloud');
          expect([0, 3]).toContain(state);
        }
        assertWhole(cloud, id);
        rmSync(join(dir, 'data'), { recursive: true });
        cpSync(join(copies, 'data'), join(dir, 'data'), { recursive: true });
        rmSync(cloud, { recursive: true });
        cpSync(join(copies, 'cloud'), cloud, { recursive: true });
        if (status === 0) break;
      }
    }
    expect(killed).toBeGreaterThan(6);
    core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
    expect(await steward(`backup copy ${id} --to cloud`)).toMatchObject({ outcome: 'done', result: { safe: true } });
  }, 300_000);

  test('the next backup there goes on where it is', async () => {
    expect(await steward('backup create --to cloud')).toMatchObject({ outcome: 'done', result: { newMedia: 0 } });
    assertWhole(cloud, idsIn(cloud).at(-1) ?? '');
  });
});

describe('backup scan', () => {
  const rowsOf = (from: Core): Record<string, unknown>[] =>
    from.store.database
      .prepare(
        "SELECT id, destination, manifest, bytes, database_at, content_level FROM backups WHERE state = 'complete' ORDER BY id, destination",
      )
      .all();
  interface Scanned {
    destination: string;
    backups: string[];
    added: string[];
    gone: string[];
    foreign: string[];
    damaged: string[];
    missing: string[];
    extra: string[];
    sealed: number;
  }
  const scanned = async (line = 'backup scan'): Promise<Scanned[]> => {
    const reply = await steward(line);
    expect({ ...reply, parts: [] }).toMatchObject({ outcome: 'done' });
    return (reply.result as { destinations: Scanned[] }).destinations;
  };

  test('finds what is in the catalogue, and nothing else', async () => {
    const before = rowsOf(core);
    const nothing = { added: [], gone: [], foreign: [], damaged: [], missing: [], sealed: 0 };
    expect(await scanned()).toMatchObject([
      { ...nothing, destination: 'disk', backups: idsIn(disk), extra: [] },
      { ...nothing, destination: 'cloud', extra: [] },
    ]);
    expect(rowsOf(core)).toEqual(before);
  });

  test('makes it anew from the destinations alone: backups go on where they were, and open by themselves', async () => {
    const before = rowsOf(core);
    core.close();
    renameSync(join(dir, 'data'), join(dir, 'data-held'));
    mkdirSync(join(dir, 'data'), { mode: 0o700 });
    // The key that manifests are signed with: without it they are another Steward's.
    core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
    expect((await scanned('backup scan --from disk'))[0]).toMatchObject({ backups: [], added: [], foreign: idsIn(disk) });
    core.close();
    cpSync(join(dir, 'data-held/backup-signing.key'), join(dir, 'data/backup-signing.key'));
    core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
    expect(await scanned()).toMatchObject([
      { destination: 'disk', added: idsIn(disk), foreign: [], extra: [], sealed: 0 },
      { destination: 'cloud', foreign: [], extra: [], sealed: 0 },
    ]);
    expect(rowsOf(core)).toEqual(before);
    // Nothing is proven of what is stored until it is read.
    const ofFirst = async (): Promise<Listed | undefined> => (await listed()).find(({ id }) => id === first);
    expect(await ofFirst()).toMatchObject({ safe: false });
    for (const from of ['disk', 'cloud']) expect(await steward(`backup verify ${first} --from ${from}`)).toMatchObject({ outcome: 'done' });
    expect(await ofFirst()).toMatchObject({ safe: true });
    expect(await steward('backup create')).toMatchObject({ outcome: 'done', result: { newMedia: 0 } });
    const last = idsIn(disk).at(-1) ?? '';
    for (const place of [disk, cloud]) assertWhole(place, last);
    // The sealed key of the epoch is the one that was there: the media of old can be opened.
    expect(await steward(`backup verify ${last} --level 2 --from cloud`)).toMatchObject({ outcome: 'done' });
    expect(await steward('backup prune --dry-run')).toMatchObject({ outcome: 'done' });
  });

  test('tells of what does not belong, and takes none of it', async () => {
    const whole = idsIn(disk).filter((id) => existsSync(join(disk, id, 'manifest.json')));
    const [gone = '', lost = '', cut = ''] = whole;
    const held = join(dir, 'disk-as-it-was');
    cpSync(disk, held, { recursive: true });
    rmSync(join(disk, gone, 'manifest.json'));
    const database = `${lost}/database/homeserver.db.zst.age`;
    rmSync(join(disk, database));
    writeFileSync(join(disk, cut, 'manifest.json'), readFileSync(join(disk, cut, 'manifest.json'), 'utf8').replace('"files"', '"Files"'));
    writeFileSync(join(disk, lost, 'media/pack-0009.tar.age'), 'planted');
    // Another Steward's, signed by a key of its own and well formed.
    const foreign = '20200101_000000';
    const { privateKey } = generateKeyPairSync('ed25519');
    const { signer, signature, ...rest } = JSON.parse(readFileSync(join(disk, lost, 'manifest.json'), 'utf8')) as Manifest &
      Record<string, string>;
    expect([signer, signature].every((part) => typeof part === 'string')).toBe(true);
    mkdirSync(join(disk, foreign));
    writeFileSync(join(disk, foreign, 'manifest.json'), signRecord({ ...rest, id: foreign }, privateKey).text);
    // Ours, of another homeserver.
    const other = '20200202_000000';
    mkdirSync(join(disk, other));
    const own = createPrivateKey(readFileSync(join(dir, 'data/backup-signing.key')));
    const server = { ...(rest as unknown as { server: object }).server, name: 'other.example' };
    writeFileSync(join(disk, other, 'manifest.json'), signRecord({ ...rest, id: other, server }, own).text);
    mkdirSync(join(disk, 'photos'));
    writeFileSync(join(disk, 'photos/cat.jpg'), 'not ours');

    const [found] = await scanned('backup scan --from disk');
    expect(found).toMatchObject({ gone: [gone], damaged: [cut], foreign: [foreign, other], missing: [database] });
    expect(found?.extra).toContain(`${lost}/media/pack-0009.tar.age`);
    expect(found?.extra).toContain(`${gone}/database/homeserver.db.zst.age`);
    expect(found?.extra.some((name) => name.startsWith('photos'))).toBe(false);
    const rows = await listed();
    expect(rows.find(({ id }) => id === lost)?.destinations.find(({ name }) => name === 'disk')).toMatchObject({ objectLevel: null });
    for (const id of [foreign, other]) expect(rows.some((row) => row.id === id)).toBe(false);
    // Nothing of it was touched.
    expect(existsSync(join(disk, 'photos/cat.jpg'))).toBe(true);
    expect(existsSync(join(disk, foreign, 'manifest.json'))).toBe(true);
    rmSync(disk, { recursive: true });
    renameSync(held, disk);
    expect((await scanned('backup scan --from disk'))[0]).toMatchObject({ added: [gone], damaged: [], missing: [], foreign: [] });
    for (const id of [gone, lost]) expect(await steward(`backup verify ${id} --from disk`)).toMatchObject({ outcome: 'done' });
  });
});

describe('info, pin, verify and prune', () => {
  test('info reads where it can be read, and tells where it is', async () => {
    const path = join(disk, first, 'manifest.json');
    const held = readFileSync(path);
    expect(await asked(`backup info ${first}`)).toMatchObject({ destination: 'disk', safe: true });
    writeFileSync(path, held.subarray(1));
    expect(await asked(`backup info ${first}`)).toMatchObject({ destination: 'cloud' });
    expect(await steward(`backup info ${first} --from disk`)).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
    writeFileSync(path, held);
  });

  test('a copy that is damaged is not safe any more, and comes last', async () => {
    const path = join(disk, manifestOf(disk, first).objects.find(({ role }) => role === 'database')?.name ?? '');
    const held = readFileSync(path);
    writeFileSync(path, held.subarray(1));
    expect(await steward(`backup verify ${first} --level 1 --from disk`)).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
    expect((await listed()).find(({ id }) => id === first)).toMatchObject({
      safe: false,
      destinations: [{ name: 'cloud' }, { name: 'disk' }],
    });
    writeFileSync(path, held);
    expect(await steward(`backup verify ${first} --level 1 --from disk`)).toMatchObject({ outcome: 'done' });
  });

  test('a restore reads from another destination what is damaged in the first', async () => {
    const [dump = ''] = manifestOf(disk, first)
      .objects.filter(({ role }) => role === 'database')
      .map(({ name }) => join(disk, name));
    const held = readFileSync(dump);
    const changed = Buffer.from(held);
    changed[changed.length - 5] = (changed[changed.length - 5] ?? 0) ^ 1;
    writeFileSync(dump, changed);
    const prepare = `restore prepare ${first} --only database --yes`;
    expect(await steward(`${prepare} --from disk`)).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
    expect(await steward(prepare)).toMatchObject({ outcome: 'done', result: { destination: 'cloud' } });
    // Again, over the one that is prepared.
    expect(await steward(prepare)).toMatchObject({ outcome: 'done', result: { destination: 'cloud' } });
    expect(await steward('restore finish latest')).toMatchObject({ outcome: 'done' });
    writeFileSync(dump, held);
    expect(await steward(prepare)).toMatchObject({ outcome: 'done', result: { destination: 'disk' } });
    expect(await steward('restore finish latest')).toMatchObject({ outcome: 'done' });
  });

  test('a pin is for all that have it, or for one', async () => {
    expect(await steward(`backup pin ${first}`)).toMatchObject({ outcome: 'done', result: { destinations: ['disk', 'cloud'] } });
    expect(await steward(`backup pin ${first} --remove --from cloud`)).toMatchObject({ outcome: 'done' });
    const rows = core.store.database.prepare('SELECT destination, pinned FROM backups WHERE id = ? ORDER BY 1').all(first);
    expect(rows).toMatchObject([
      { destination: 'cloud', pinned: 0 },
      { destination: 'disk', pinned: 1 },
    ]);
  });

  test('prune keeps to what each destination has', async () => {
    core.close();
    const base = { last: 1, daily: 0, weekly: 0, monthly: 0, within: '1s' };
    const config = readFileSync(join(dir, 'steward.yaml'), 'utf8').replace('backup:\n', `backup:\n  retention: ${JSON.stringify(base)}\n`);
    writeFileSync(join(dir, 'steward.yaml'), config);
    core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
    expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
    const last = idsIn(cloud).at(-1) ?? '';
    for (const other of [...idsIn(disk), ...idsIn(cloud)].filter((one) => one !== last))
      core.store.database.prepare('UPDATE backups SET database_at = ? WHERE id = ?').run(Date.now() - 86_400_000, other);
    const reply = await steward('backup prune');
    expect(reply).toMatchObject({ outcome: 'done', result: { destinations: [{ destination: 'disk' }, { destination: 'cloud' }] } });
    const whole = (place: string): string[] => idsIn(place).filter((id) => existsSync(join(place, id, 'manifest.json')));
    expect([whole(disk), whole(cloud)]).toEqual([[first, last], [last]]);
    for (const id of [first, last]) assertWhole(disk, id);
    assertWhole(cloud, last);
  });
});

test('a change of who opens backups leaves a destination alone whose disk is not mounted', async () => {
  expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
  core.close();
  const second = await makeAgeKey(join(dir, 'second.key'));
  const place = { endpoint: proxy.url, region: s3.region, bucket, access_key_id: s3.accessKeyId, secret_access_key_file: 's3-secret' };
  core = await openSteward({
    backup: {
      destinations: { disk: { directory: disk }, cloud: { s3: place } },
      keys: { recipients: [recipient, second], identity_file: 'own.key' },
    },
  });
  const held = `${disk}-held`;
  renameSync(disk, held);
  mkdirSync(disk);
  try {
    expect(await steward('backup keys accept')).toMatchObject({
      outcome: 'done',
      result: {
        sheets: [
          { destination: 'disk', problem: expect.stringContaining('has none of the backups that were put there') },
          { destination: 'cloud', problem: null },
        ],
      },
    });
    expect(readdirSync(disk)).toEqual([]);
    expect(readFileSync(join(cloud, 'RESCUE.txt'), 'utf8')).toContain(second);
  } finally {
    rmSync(disk, { recursive: true });
    renameSync(held, disk);
  }
  expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
  expect(readFileSync(join(disk, 'RESCUE.txt'), 'utf8')).toContain(second);
});
