import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { openClient } from '../../kit/client.ts';
import { sql } from '../../kit/postgres.ts';
import { ensureSynapse, startSynapse, type Synapse } from '../../kit/synapse.ts';
import { tokenise } from '../../src/commands/grammar/tokenise.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { signingKey } from '../../src/backup/keys.ts';
import { signRecord } from '../../src/backup/manifest.ts';
import { openCore, type Core } from '../../src/core.ts';
import type { ShellMessage } from '../../src/terminal/session.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import type { ShellReply } from './support/core-shell.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { hasSmallDisks, SmallDisk } from './support/small-disk.ts';
import { until } from './support/until.ts';

/** Stored backups that are opened again: loaded, compared, and a homeserver started on them. */

jest.setTimeout(180_000);

interface Shown {
  objectLevel: number;
  missing: string | null;
  rows: number;
  media: number | null;
  mediaMissing: number | null;
}
interface Drilled extends Shown {
  isolation: string;
  users: number;
  rooms: number;
  roomState: number;
  probedMedia: boolean;
  phases: { name: string; seconds: number }[];
}

function without(record: object, ...keys: string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}

function verified(reply: ShellReply): Shown {
  expect(reply).toMatchObject({ outcome: 'done' });
  return (reply.result as { destinations: [Shown] }).destinations[0];
}

describe('on PostgreSQL', () => {
  let world: RestoreWorld;
  let scratch: string;
  let id: string;
  let room: string;

  const stackOf = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
    stack: {
      homeserver_config: [world.synapse.configPath],
      database: { user: 'steward', password_file: 'database-password' },
      components: { synapse: world.control },
      scratch_dir: scratch,
      ...more,
    },
  });
  const at = (name: string): string => join(world.disk, id, name);
  const recordOf = (name: string): Record<string, unknown> => JSON.parse(readFileSync(at(name), 'utf8')) as Record<string, unknown>;

  /** Writes a record of the backup as this Steward would have signed it. */
  async function sign(name: string, record: Record<string, unknown>): Promise<void> {
    const { text } = signRecord(without(record, 'signer', 'signature'), signingKey(join(world.dir, 'data/backup-signing.key')));
    writeFileSync(at(name), text);
    if (name !== 'manifest.json') return;
    const sha256 = createHash('sha256').update(text).digest('hex');
    (await world.core()).store.database.prepare('UPDATE backups SET manifest = ? WHERE id = ?').run(sha256, id);
    await sign('proof.json', { ...recordOf('proof.json'), manifest: sha256 });
  }

  beforeAll(async () => {
    world = await RestoreWorld.open();
    scratch = mkdtempSync(join(tmpdir(), 'scratch-'));
    chmodSync(scratch, 0o1777);
    world.configure(stackOf());
    const alice = openClient({ ...world.alice, url: world.synapse.url });
    room = await alice.createRoom({ preset: 'private_chat', name: 'Plans' });
    for (const content of ['one', 'two'.repeat(1_000_000), 'three']) await world.upload(content);
    expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
    [id = ''] = readdirSync(world.disk).filter((name) => /^\d/.test(name));
  }, 180_000);

  afterAll(async () => {
    await world.dispose();
    rmSync(scratch, { recursive: true, force: true });
  });

  test('a dump is loaded and compared, and every file of the media is hashed', async () => {
    const third = verified(await world.steward('backup verify latest --level 3'));
    expect(third).toMatchObject({ objectLevel: 3, missing: null, media: null });
    expect(third.rows).toBeGreaterThan(100);
    expect(verified(await world.steward('backup verify latest --level 4'))).toMatchObject({ objectLevel: 4, missing: null, media: 3 });
    expect(recordOf('proof-object.json')).toMatchObject({ id, destination: 'disk', level: 4, rows: third.rows, isolation: null });
    expect(JSON.stringify((await world.steward('backup info latest')).parts)).toContain('L4, restored and compared, media too');
    expect(readdirSync(scratch)).toEqual([]);
  });

  test('a homeserver is started on it, without a network and with another key, and gives back what the copy holds', async () => {
    const running = world.steward('backup drill');
    // It is seen while it runs.
    const folder = (): string | undefined => readdirSync(scratch).find((name) => name.startsWith('steward-drill-'));
    await until(() => folder() !== undefined && existsSync(join(scratch, folder() ?? '', 'socket')), 60_000, 'a Synapse on the copy');
    const home = join(scratch, folder() ?? '');
    const [pid = ''] = spawnSync('pgrep', ['-f', `config-path ${home}`], { encoding: 'utf8' })
      .stdout.split('\n')
      .filter((each) => each !== '' && readFileSync(`/proc/${each}/cmdline`, 'utf8').includes('synapse.app'))
      .slice(-1);
    expect(readlinkSync(`/proc/${pid}/ns/net`)).not.toBe(readlinkSync('/proc/self/ns/net'));
    // No address, no way out, and nothing that listens but a socket of this folder.
    const seen = ['tcp', 'tcp6', 'udp', 'udp6', 'route', 'if_inet6'].map((name) => readFileSync(`/proc/${pid}/net/${name}`, 'utf8'));
    expect(seen.flatMap((text) => text.trim().split('\n')).filter((line) => line !== '' && !/local_address|Iface/.test(line))).toEqual([]);
    const key = readFileSync(join(home, 'signing.key'), 'utf8').split(' ')[2];
    expect(readFileSync(join(world.synapse.dir, 'signing.key'), 'utf8')).not.toContain(key);
    const config = readFileSync(join(home, 'homeserver.yaml'), 'utf8');
    expect(config).toContain('send_federation: false');
    expect(config).toContain('federation_domain_whitelist: []');

    const reply = await running;
    expect(reply).toMatchObject({ outcome: 'done' });
    const drilled = reply.result as Drilled;
    const listed = await fetch(`${world.synapse.url}/_matrix/client/v3/rooms/${encodeURIComponent(room)}/state`, {
      headers: { authorization: `Bearer ${world.alice.accessToken}` },
    });
    const state = (await listed.json()) as unknown[];
    expect(drilled).toMatchObject({
      objectLevel: 5,
      missing: null,
      media: 3,
      users: 1,
      rooms: 1,
      roomState: state.length,
      probedMedia: true,
    });
    expect(drilled.isolation).toContain('network of its own');
    expect(drilled.phases.map(({ name }) => name)).toEqual([
      'read the objects',
      'load the database',
      'compare it',
      'read the media',
      'start Synapse',
      'log in and read',
    ]);
    expect(drilled.phases.every(({ seconds }) => seconds >= 0)).toBe(true);
    expect(recordOf('proof-object.json')).toMatchObject({ level: 5, phases: drilled.phases });
    expect(readdirSync(scratch)).toEqual([]);
    // The live server knows nothing of the probe.
    expect(await world.oracle('synapse')).not.toContain('steward-drill');
    expect(JSON.stringify((await world.steward('backup schedule show')).parts)).toContain('A restore now would take');
    expect(JSON.stringify((await world.steward('backup verify latest --level 0')).parts)).toContain('L0');
    expect(JSON.stringify((await world.steward('backup info latest')).parts)).toContain('L5');
  });

  test('a copy that does not hold what the database held is found', async () => {
    const proof = readFileSync(at('proof.json'), 'utf8');
    const { content, ...rest } = recordOf('proof.json') as { content: { held: { rows: Record<string, number>; schema: string } } };
    const { held } = content;
    for (const [name, other] of [
      ['users has 1 rows of 2', { ...held, rows: { ...held.rows, users: 2 } }],
      ['its sequence events_stream_seq is at', { ...held, sequences: { events_stream_seq: '999999999' } }],
    ] as const) {
      await sign('proof.json', { ...rest, content: { ...content, held: other } });
      const reply = await world.steward('backup verify latest --level 3');
      expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.not-proven' });
      expect(JSON.stringify(reply.parts)).toContain(name);
      expect((await world.core()).store.database.prepare('SELECT object_level FROM backups').get()).toEqual({ object_level: null });
    }
    // A proof of an earlier version has the sums alone.
    const sums = without(content, 'held');
    await sign('proof.json', { ...rest, content: sums });
    expect(verified(await world.steward('backup verify latest --level 3'))).toMatchObject({ objectLevel: 3, missing: null });
    // Without one nothing says what it held.
    rmSync(at('proof.json'));
    expect(verified(await world.steward('backup verify latest --level 4'))).toMatchObject({ objectLevel: 2, missing: expect.any(String) });
    writeFileSync(at('proof.json'), proof);
    expect(readdirSync(scratch)).toEqual([]);
  });

  test('a record of an earlier check that was changed is not believed; without it the next check makes one', async () => {
    const held = readFileSync(at('proof-object.json'));
    const changed = Buffer.from(held);
    const digit = held.indexOf('"rows":') + 8;
    changed[digit] = (changed[digit] ?? 0) ^ 1;
    writeFileSync(at('proof-object.json'), changed);
    for (const line of ['backup verify latest --level 0', 'backup verify latest --level 3'])
      expect(await world.steward(line)).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
    const [error, hint] = (await world.steward('backup verify latest')).parts.map((part) => JSON.stringify(part));
    expect(error).toContain('proof-object.json');
    expect(hint).toContain('no more is to be done');
    expect(hint).toContain(at('proof-object.json'));
    // Neither tells of it what the record says, nor is a restore of the backup kept back by it.
    expect(JSON.stringify((await world.steward('backup info latest')).parts)).not.toContain('L3, restored');
    expect(await world.steward('restore prepare latest')).toMatchObject({ outcome: 'done' });
    expect(await world.steward('restore finish latest')).toMatchObject({ outcome: 'done' });
    rmSync(at('proof-object.json'));
    expect(verified(await world.steward('backup verify latest --level 3'))).toMatchObject({ objectLevel: 3, missing: null });
    expect(recordOf('proof-object.json')).toMatchObject({ id, level: 3 });
  });

  test('a Synapse that does not start on it is told with what it said, and nothing of it is left', async () => {
    const broken = join(world.dir, 'python');
    writeFileSync(broken, '#!/bin/sh\necho the schema is too new >&2\nexit 1\n', { mode: 0o755 });
    world.closeCore();
    world.configure(stackOf({ synapse_python: broken }));
    const reply = await world.steward('backup drill');
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'backup.not-proven' });
    expect(JSON.stringify(reply.parts)).toContain('the schema is too new');
    expect(readdirSync(scratch)).toEqual([]);
    world.closeCore();
    world.configure(stackOf({ synapse_python: '/nowhere/python' }));
    expect(await world.steward('backup drill')).toMatchObject({ outcome: 'failed', errorId: 'stack.no-program' });
    world.closeCore();
    world.configure(stackOf());
  });

  test('where the kernel gives it no network of its own no Synapse is started, and what to do is told', async () => {
    const [bin, started] = [mkdtempSync(join(tmpdir(), 'refused-')), join(world.dir, 'started')];
    const python = join(bin, 'python');
    writeFileSync(python, `#!/bin/sh\necho started >> ${started}\nexit 1\n`, { mode: 0o755 });
    world.closeCore();
    world.configure(stackOf({ synapse_python: python }));
    const search = process.env['PATH'];
    process.env['PATH'] = `${bin}:${search ?? ''}`;
    const refuses = "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1";
    try {
      writeFileSync(join(bin, 'unshare'), `#!/bin/sh\n${refuses}\n`, { mode: 0o755 });
      const reply = await world.steward('backup drill');
      expect(reply).toMatchObject({ outcome: 'refused', errorId: 'stack.no-isolation' });
      expect(JSON.stringify(reply.parts)).toContain('Operation not permitted');
      expect(JSON.stringify(reply.parts)).toContain('CAP_SYS_ADMIN');
      // Allowed as it was asked, refused when it mattered.
      writeFileSync(join(bin, 'unshare'), `#!/bin/sh\nfor last; do :; done\n[ "$last" = true ] && exit 0\n${refuses}\n`, { mode: 0o755 });
      const later = await world.steward('backup drill');
      expect(later).toMatchObject({ outcome: 'failed', errorId: 'backup.not-proven' });
      expect(JSON.stringify(later.parts)).toContain('Operation not permitted');
      expect(existsSync(started)).toBe(false);
      expect(readdirSync(scratch)).toEqual([]);
    } finally {
      process.env['PATH'] = search;
      rmSync(bin, { recursive: true });
      world.closeCore();
      world.configure(stackOf());
    }
  });

  test('kill -9 in the middle of it leaves nothing', async () => {
    world.closeCore();
    const main = resolve(import.meta.dirname, '../../src/main.ts');
    const words = ['--disable-warning=ExperimentalWarning', main, 'backup', 'drill', '--config', world.configPath];
    const child = spawn(process.execPath, words, { stdio: 'ignore' });
    const ended = new Promise((done) => child.once('close', done));
    const homes = (): string[] => readdirSync(scratch);
    await until(() => homes().some((name) => name.startsWith('steward-drill-')), 60_000, 'a Synapse on the copy');
    child.kill('SIGKILL');
    await ended;
    await until(() => homes().length === 0, 60_000, 'all of it is gone');
    expect(spawnSync('pgrep', ['-f', scratch], { encoding: 'utf8' }).stdout).toBe('');
    expect(await world.steward('backup drill')).toMatchObject({ outcome: 'done' });
  });

  describe('without room in the folder that databases are tried in', () => {
    let small: SmallDisk;

    const live = () => ({ ...world.postgres.superuser, name: 'synapse' });
    const databaseBytes = (): number => (recordOf('manifest.json') as { server: { database: { bytes: number } } }).server.database.bytes;

    beforeAll(async () => {
      if (!hasSmallDisks) throw new Error('a disk of its own needs root and mounts');
      await sql(
        live(),
        'CREATE TABLE fill AS SELECT md5(n::text) AS x FROM generate_series(1, 900000) AS n; ALTER TABLE fill OWNER TO synapse',
      );
      small = new SmallDisk(join(scratch, 'small'), '600m');
      chmodSync(small.path, 0o1777);
      world.closeCore();
      world.configure(stackOf({ scratch_dir: small.path }));
      expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
      [id = ''] = readdirSync(world.disk)
        .filter((name) => /^\d/.test(name))
        .sort()
        .slice(-1);
    });

    afterAll(async () => {
      await sql(live(), 'DROP TABLE fill');
      small.dispose();
      rmSync(small.path, { recursive: true });
      world.closeCore();
      world.configure(stackOf());
    });

    test.each<[string, () => number, string]>([
      ['from the start', () => 1 << 20, 'bytes free, and the database has'],
      // The folder of a new server, and a log of all that is written, take more than the database does.
      ['once it is loaded', () => Math.ceil(databaseBytes() * 1.35), 'is full'],
    ])('%s a copy is read to its end instead, and the live database goes on', async (_, free, reason) => {
      const before = await world.oracle('synapse');
      await small.fillTo(free());
      for (const line of ['backup verify latest --level 3', 'backup verify latest --level 4'])
        expect(verified(await world.steward(line))).toMatchObject({ objectLevel: 2, missing: expect.stringContaining(reason) });
      const drilled = await world.steward('backup drill');
      expect(drilled).toMatchObject({ outcome: 'failed', errorId: 'stack.scratch-failed' });
      expect(JSON.stringify(drilled.parts)).toContain(reason);
      expect(recordOf('proof-object.json')).toMatchObject({ level: 2, missing: expect.stringContaining(reason) });
      expect(readdirSync(small.path)).toEqual(['filler']);
      expect(spawnSync('pgrep', ['-f', small.path], { encoding: 'utf8' }).stdout).toBe('');
      expect(await world.oracle('synapse')).toBe(before);
      small.empty();
      expect(verified(await world.steward('backup verify latest --level 3'))).toMatchObject({ objectLevel: 3, missing: null });
    });
  });

  test('kill -9 while the database for it is made leaves nothing either', async () => {
    world.closeCore();
    const programs = mkdtempSync(join(tmpdir(), 'programs-'));
    chmodSync(programs, 0o755);
    for (const name of readdirSync(world.postgres.programs))
      if (name !== 'initdb') symlinkSync(join(world.postgres.programs, name), join(programs, name));
    // It has begun, and goes on until it is ended.
    const endless = '#!/bin/sh\nfor word; do case $word in --pgdata=*) mkdir "${word#--pgdata=}";; esac; done\nsleep 600\n';
    writeFileSync(join(programs, 'initdb'), endless, { mode: 0o755 });
    world.configure(stackOf({ postgres_programs: programs }));
    const main = resolve(import.meta.dirname, '../../src/main.ts');
    const words = [
      '--disable-warning=ExperimentalWarning',
      main,
      'backup',
      'verify',
      'latest',
      '--level',
      '3',
      '--config',
      world.configPath,
    ];
    const child = spawn(process.execPath, words, { stdio: 'ignore' });
    const ended = new Promise((done) => child.once('close', done));
    const isBegun = (): boolean => readdirSync(scratch).some((name) => existsSync(join(scratch, name, 'data')));
    await until(isBegun, 60_000, 'a database that is being made');
    child.kill('SIGKILL');
    await ended;
    await until(() => readdirSync(scratch).length === 0, 60_000, 'all of it is gone');
    await until(() => spawnSync('pgrep', ['-f', scratch]).status === 1, 60_000, 'nothing of it runs');
    rmSync(programs, { recursive: true });
    world.configure(stackOf());
    expect(verified(await world.steward('backup verify latest --level 3'))).toMatchObject({ objectLevel: 3 });
  });

  test('media that the manifest does not tell of as missing keep it from L4', async () => {
    await world.upload('gone');
    const gone = readdirSync(join(world.synapse.mediaPath, 'local_content'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .find((path) => readFileSync(path, 'utf8') === 'gone');
    rmSync(gone ?? '');
    expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
    [id = ''] = readdirSync(world.disk)
      .filter((name) => /^\d/.test(name))
      .sort()
      .slice(-1);
    expect(verified(await world.steward('backup verify latest --level 4'))).toMatchObject({
      ...{ objectLevel: 4, missing: null, media: 3, mediaMissing: 1 },
    });
    const manifest = recordOf('manifest.json') as { media: object };
    await sign('manifest.json', { ...manifest, media: { ...manifest.media, missing: 0 } });
    expect(verified(await world.steward('backup verify latest --level 4'))).toMatchObject({
      ...{ objectLevel: 3, media: 3, mediaMissing: 1, missing: expect.stringContaining('1 media have no file') },
    });
  });
});

describe('on SQLite', () => {
  let dir: string;
  let synapse: Synapse;
  let core: Core;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'drill-'));
    synapse = await startSynapse({ dir: join(dir, 'synapse'), serverName: 'example.org' });
    const alice = await synapse.register({ localpart: 'alice', admin: true });
    await openClient({ ...alice, url: synapse.url }).createRoom({ preset: 'private_chat', name: 'Plans' });
    spawnSync('age-keygen', ['-o', join(dir, 'own.key')]);
    writeFileSync(join(dir, 'token'), alice.accessToken, { mode: 0o600 });
    writeFileSync(
      join(dir, 'steward.yaml'),
      stringify({
        data_dir: 'data',
        homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
        stack: { homeserver_config: [synapse.configPath], synapse_python: await ensureSynapse() },
        backup: { destinations: { disk: { directory: join(dir, 'disk') } }, keys: { identity_file: 'own.key' } },
      }),
    );
    core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
  }, 120_000);

  afterAll(async () => {
    core.close();
    await synapse.dispose();
    rmSync(dir, { recursive: true, force: true });
  });

  async function steward(line: string): Promise<ShellReply> {
    const tokens = tokenise(line);
    if (!Array.isArray(tokens)) throw new Error(line);
    let reply: Extract<ShellMessage, { type: 'reply' }> | undefined;
    for await (const message of core.session().run({ words: tokens.map(({ value }) => value), items: null, secrets: {} }))
      if (message.type === 'reply') reply = message;
    return reply as ShellReply;
  }

  test('it is tried to its end as well, and the live file is as it was', async () => {
    expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
    const reply = await steward('backup drill');
    expect(reply).toMatchObject({ outcome: 'done' });
    expect(reply.result).toMatchObject({ objectLevel: 5, users: 1, rooms: 1, media: 0, probedMedia: false });
    expect(readdirSync(join(dir, 'data/scratch'))).toEqual([]);
  });
});
