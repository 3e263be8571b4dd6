import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { stringify } from 'yaml';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { Backups, type BackupsOptions } from '../../src/backup/backups.ts';
import { signingKey } from '../../src/backup/keys.ts';
import { removeBackups } from '../../src/backup/prune.ts';
import { systemClock } from '../../src/clock.ts';
import { BackupStore } from '../../src/store/backups.ts';
import { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { confirmKeys } from './support/keys.ts';

/** Which backups stay, on the disk, by programs in a process of their own; a kill at every commit. */

jest.setTimeout(120_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');
const day = 24 * 3_600_000;

let dir: string;
let disk: string;
let synapse: Synapse;
let alice: Account;
/** Ids of backups, oldest first: each has media that the ones before have not. */
let made: string[];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'prune-'));
  disk = join(dir, 'disk');
  synapse = await startSynapse({ dir: join(dir, 'synapse'), serverName: 'example.org' });
  alice = await synapse.register({ localpart: 'alice', admin: true });
  writeFileSync(join(dir, 'token'), alice.accessToken, { mode: 0o600 });
  spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
  const recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8'))?.[0];
  const retention = { last: 1, daily: 0, weekly: 0, monthly: 0, within: '1s' };
  writeFileSync(
    join(dir, 'steward.yaml'),
    stringify({
      data_dir: 'data',
      homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
      stack: { homeserver_config: [synapse.configPath] },
      backup: { destinations: { disk: { directory: disk } }, keys: { recipients: [recipient] }, retention },
    }),
  );
  await confirmKeys((...words) => steward(...words).out, join(dir, 'my.key'));
  for (const content of ['one', 'two', 'three']) {
    await upload(content);
    expect(steward('backup', 'create').status).toBe(0);
  }
  made = folders();
  aged(made[0] ?? '', 60);
  aged(made[1] ?? '', 40);
}, 120_000);

afterAll(async () => {
  await synapse.dispose();
  rmSync(dir, { recursive: true, force: true });
});

async function upload(content: string): Promise<void> {
  await fetch(`${synapse.url}/_matrix/media/v3/upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${alice.accessToken}`, 'content-type': 'text/plain' },
    body: content,
  });
}

function steward(...words: string[]): { status: number | null; out: string } {
  return stewardWith({}, ...words);
}

function stewardWith(env: Record<string, string>, ...words: string[]): { status: number | null; out: string } {
  const args = ['--disable-warning=ExperimentalWarning', main, ...words, '--config', join(dir, 'steward.yaml')];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, ...env } });
  return { status, out: stdout + stderr };
}

/** In the shell there is nobody else to ask. */
const prune = (env: Record<string, string> = {}): ReturnType<typeof steward> =>
  stewardWith(env, 'backup', 'prune', '--break-glass', 'this is a test');

function inStore<T>(work: (store: DatabaseSync) => T): T {
  const store = new DatabaseSync(join(dir, 'data/steward.db'));
  try {
    return work(store);
  } finally {
    store.close();
  }
}

/** As if it had been made that many days ago. */
function aged(id: string, days: number): void {
  inStore((store) => store.prepare('UPDATE backups SET database_at = ? WHERE id = ?').run(Date.now() - days * day, id));
}

const folders = (): string[] =>
  readdirSync(disk)
    .filter((name) => /^\d/.test(name))
    .sort();
const filesOf = (id: string): string[] =>
  readdirSync(join(disk, id), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(disk.length + 1))
    .sort();
const mediaOf = (id: string): string[] => [`${id}/media/pack-0001.files.age`, `${id}/media/pack-0001.tar.age`];
const exists = (id: string): boolean => existsSync(join(disk, id, 'manifest.json'));

/** Every object that the manifest names is there, and is what was stored. */
function assertWhole(id: string): void {
  const { objects } = JSON.parse(readFileSync(join(disk, id, 'manifest.json'), 'utf8')) as {
    objects: { name: string; stored: { sha256: string } }[];
  };
  for (const { name, stored } of objects)
    expect({
      name,
      sha256: createHash('sha256')
        .update(readFileSync(join(disk, name)))
        .digest('hex'),
    }).toEqual({
      name,
      sha256: stored.sha256,
    });
}

/** A copy of the disk and of the store, to go back to. */
function copied(): () => void {
  const copy = mkdtempSync(join(dir, 'copy-'));
  for (const name of ['disk', 'data']) cpSync(join(dir, name), join(copy, name), { recursive: true });
  return () => {
    for (const name of ['disk', 'data']) {
      rmSync(join(dir, name), { recursive: true });
      cpSync(join(copy, name), join(dir, name), { recursive: true });
    }
  };
}

test('a dry run removes nothing and says why each stays; what is pinned stays', () => {
  const [first = '', second = '', third = ''] = made;
  expect(steward('backup', 'pin', first).status).toBe(0);
  expect(steward('backup', 'list').out).toContain('📌');
  const before = made.flatMap(filesOf);
  const { status, out } = steward('backup', 'prune', '--dry-run');
  expect(status).toBe(0);
  expect(out).toContain('remove 1 of 3 backups');
  expect(out).toContain(`remove ${second}`);
  expect(out).toMatch(new RegExp(`keep ${first}.*: pinned`));
  expect(out).toMatch(new RegExp(`keep ${third}.*: the newest proven, last`));
  // Each in a line of its own.
  expect(out.match(/^.*(?:remove|keep) \d{8}_.*$/gm)).toHaveLength(3);
  expect(made.flatMap(filesOf)).toEqual(before);
});

test('the doctor tells how old the newest proven one is, and fails when it is too old', () => {
  const reset = copied();
  const line = (): string => /backups: .*/.exec(steward('doctor').out)?.[0] ?? '';
  expect(line()).toMatch(new RegExp(`the newest proven backup, ${made[2] ?? ''} in disk, is \\d+ (?:s|min) old`));
  for (const id of made) aged(id, 3);
  expect(line()).toContain('is 3 d old → ');
  inStore((store) => store.exec('UPDATE backups SET content_level = 2'));
  expect(line()).toContain('none of 3 backups is proven');
  reset();
});

test('asked for in the shell without a room it is not run', () => {
  expect(steward('backup', 'prune')).toMatchObject({ status: 3, out: expect.stringContaining('approval.no-room') });
  expect(made.map(exists)).toEqual([true, true, true]);
});

test('a kill at every commit leaves what stays whole, and the next run ends it', () => {
  const [first = '', second = '', third = ''] = made;
  const reset = copied();
  let killed = 0;
  for (const side of ['before', 'after']) {
    for (let commit = 1; commit < 60; commit += 1) {
      const { status } = prune({ STEWARD_CRASH_AT: `${side}:${commit}` });
      if (status !== 0) {
        killed += 1;
        assertWhole(first);
        assertWhole(third);
        expect(prune().status).toBe(0);
      }
      expect([exists(first), exists(second), exists(third)]).toEqual([true, false, true]);
      expect(filesOf(second)).toEqual(mediaOf(second));
      reset();
      if (status === 0) break;
    }
  }
  expect(killed).toBeGreaterThan(6);
});

test('killed after any commit, another time of the nightly backup holds for the pruning after it too, or for neither', () => {
  const untouched = copied();
  const schedule = (time: string, env: Record<string, string> = {}): number | null =>
    stewardWith(env, 'backup', 'schedule', time, 'UTC', '--prune', '--break-glass', 'this is a test').status;
  const times = (): unknown[] =>
    inStore((store) => store.prepare('SELECT name, expression FROM schedules ORDER BY name').all()).map((row) => ({ ...row }));
  const both = (expression: string): unknown[] => ['backup', 'backup-prune'].map((name) => ({ name, expression }));
  expect(schedule('02:30')).toBe(0);
  expect(times()).toEqual(both('30 2 * * *'));
  const reset = copied();
  let killed = 0;
  for (let commit = 1; commit < 60; commit += 1) {
    const status = schedule('03:15', { STEWARD_CRASH_AT: `after:${commit}` });
    const now = times();
    expect([both('30 2 * * *'), both('15 3 * * *')]).toContainEqual(now);
    reset();
    if (status === 0) break;
    killed += 1;
  }
  expect(killed).toBeGreaterThan(3);
  untouched();
});

test('it removes what is not kept, but for media that others are made of', () => {
  const [first = '', second = '', third = ''] = made;
  const { status, out } = prune();
  expect({ status, out }).toMatchObject({ status: 0, out: expect.stringContaining('1 removed, 2 kept') });
  expect(filesOf(second)).toEqual(mediaOf(second));
  for (const id of [first, third]) assertWhole(id);
  expect(steward('backup', 'list').out).not.toContain(second);
  expect(steward('backup', 'info', second)).toMatchObject({ status: 1, out: expect.stringContaining('backup.not-found') });
  expect(steward('backup', 'verify', third).status).toBe(0);

  expect(steward('backup', 'pin', first, '--remove').status).toBe(0);
  expect(prune().status).toBe(0);
  expect(filesOf(first)).toEqual(mediaOf(first));
  assertWhole(third);
});

test('where the disk is away since it was planned it fails, and neither the disk nor the catalogue is changed', async () => {
  expect(steward('backup', 'create').status).toBe(0);
  const [older = '', newer = ''] = folders().slice(-2);
  const catalogue = (): unknown =>
    inStore((store) =>
      ['backups', 'media_packs', 'media_files', 'media_faults'].map((table) => store.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all()),
    );
  const [before, held] = [catalogue(), `${disk}-held`];
  renameSync(disk, held);
  mkdirSync(disk);
  const store = Store.open(join(dir, 'data/steward.db'));
  const backups = new Backups({
    settings: { destinations: { disk: { directory: disk } }, keys: { recipients: [] } },
    store: new BackupStore(store),
    clock: systemClock,
    log: silentLog,
    signingKeyPath: join(dir, 'data/backup-signing.key'),
  } as unknown as BackupsOptions);
  const { signal } = new AbortController();
  const isAway = { id: 'backup.destination-empty' };
  const stack = (): never => {
    throw new Error('packs are compared with the homeserver');
  };
  try {
    for (const ids of [[older], []])
      await expect(backups.remove([{ destination: 'disk', ids }], stack, signal)).rejects.toMatchObject(isAway);
    // So does a copy that failed, which takes away what it left.
    const options = { store: new BackupStore(store), signer: signingKey(join(dir, 'data/backup-signing.key')), signal };
    await expect(removeBackups([], { ...options, destination: backups.destination('disk') })).rejects.toMatchObject(isAway);
  } finally {
    store.close();
    rmSync(disk, { recursive: true });
    renameSync(held, disk);
  }
  expect(catalogue()).toEqual(before);
  for (const id of [older, newer]) assertWhole(id);
  rmSync(join(disk, newer), { recursive: true });
  inStore((store) => store.prepare('DELETE FROM backups WHERE id = ?').run(newer));
});

test('media that nothing is made of any more go too, and a backup goes on where they were', () => {
  const [first = '', second = '', third = ''] = made;
  // Somebody removed a pack: its media are copied again.
  rmSync(join(disk, mediaOf(first)[1] ?? ''));
  expect(steward('backup', 'create').status).toBe(0);
  const fourth = folders().at(-1) ?? '';
  aged(third, 30);
  expect(prune().status).toBe(0);
  expect(folders()).toEqual([second, third, fourth]);
  expect(filesOf(third)).toEqual(mediaOf(third));
  assertWhole(fourth);
});

test('what somebody else removed does not count as the one that stays', () => {
  expect(steward('backup', 'create').status).toBe(0);
  const [fourth = '', fifth = ''] = folders().slice(-2);
  aged(fourth, 20);
  rmSync(join(disk, fifth), { recursive: true });
  const { status, out } = prune();
  expect({ status, out }).toMatchObject({ status: 0, out: expect.stringContaining('0 removed, 1 kept') });
  assertWhole(fourth);
});

test('what lies beside the media of a backup and belongs to none goes, but not where its manifest is away', () => {
  expect(steward('backup', 'create').status).toBe(0);
  const [older = '', newer = ''] = folders().slice(-2);
  aged(older, 20);
  const planted = [older, newer].map((id) => join(disk, id, 'media/pack-0042.tar.age'));
  for (const path of planted) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, 'of a copy that was killed');
  }
  const manifest = join(disk, newer, 'manifest.json');
  renameSync(manifest, `${manifest}.away`);
  expect(steward('backup', 'pin', older).status).toBe(0);
  expect(prune().status).toBe(0);
  expect(planted.map((path) => existsSync(path))).toEqual([false, true]);
  renameSync(`${manifest}.away`, manifest);
  expect(prune().status).toBe(0);
  expect(planted.map((path) => existsSync(path))).toEqual([false, false]);
  for (const id of [older, newer]) assertWhole(id);
  expect(steward('backup', 'pin', older, '--remove').status).toBe(0);
});

test('where a manifest cannot be trusted nothing is removed', () => {
  expect(steward('backup', 'create').status).toBe(0);
  expect(steward('backup', 'create').status).toBe(0);
  const [older = '', newer = ''] = folders().slice(-2);
  aged(older, 20);
  const path = join(disk, newer, 'manifest.json');
  const held = readFileSync(path, 'utf8');
  writeFileSync(path, held.replace('"media"', '"Media"'));
  expect(prune()).toMatchObject({ status: 1, out: expect.stringContaining('backup.damaged') });
  expect(exists(older)).toBe(true);
  writeFileSync(path, held);
  assertWhole(older);
});
