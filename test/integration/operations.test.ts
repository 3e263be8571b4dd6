import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { writeProgram } from '../../demo/program.ts';
import { openClient } from '../../kit/client.ts';
import { alertTable, type AlertId } from '../../src/alerts/table.ts';
import { Homeserver } from './support/homeserver.ts';
import { confirmKeys } from './support/keys.ts';
import { openMonitor, type Monitor } from './support/monitor.ts';
import { codeIn, resultOf } from './support/seat.ts';
import type { Steward, StewardOptions } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook, saidOf, type SentAlert, type Webhook } from './support/webhook.ts';

/** What docs/operations.md says to type at 3 am is typed, where the alert stands, and mends what it says. */

jest.setTimeout(120_000);

const operations = readFileSync(resolve(import.meta.dirname, '../../docs/operations.md'), 'utf8');

let home: Homeserver;
let hook: Webhook;
let monitor: Monitor;
let dir: string;
let recipient: string;
/** One that is well, with backups; what breaks a Steward has another. */
let sound: Steward;
/** Alerts before this one are of another test. */
let since = 0;

beforeAll(async () => {
  home = await Homeserver.start();
  hook = await openWebhook();
  monitor = await openMonitor();
  dir = mkdtempSync(join(tmpdir(), 'operations-'));
  writeFileSync(join(dir, 'admin-token'), home.alice.client.accessToken, { mode: 0o600 });
  spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
  recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8'))?.[0] ?? '';
  sound = await opened({
    config: {
      stack: { homeserver_config: [home.synapse.configPath], components: { synapse: control() } },
      backup: {
        destinations: { disk: { directory: join(dir, 'disk') } },
        heartbeat: { url_file: 'secrets/heartbeat' },
        keys: { recipients: [recipient] },
      },
    },
  });
  await confirmKeys(async (...words) => (await sound.shell(...words)).out, join(dir, 'my.key'));
  expect((await sound.shell('backup', 'create')).exit).toBe(0);
  expect((await sound.shell('backup', 'schedule', '02:30', '--yes')).exit).toBe(0);
}, 120_000);

afterAll(async () => {
  await home.dispose();
  hook.close();
  monitor.close();
  rmSync(dir, { recursive: true, force: true });
});

const runs = (): string => join(dir, 'runs');
const broken = (): string => join(dir, 'broken');

/** Commands of a component that starts only where nothing is broken; the real Synapse runs on. */
function control(): Record<string, string[]> {
  writeFileSync(runs(), '');
  return {
    status: ['test', '-e', runs()],
    stop: ['rm', '-f', runs()],
    start: ['sh', '-c', 'test ! -e "$0" && touch "$1"', broken(), runs()],
  };
}

/** A restore that has been in a state for so many days, as a Steward that was killed or forgotten leaves it. */
async function restoreIn(state: string, step: string | null = null, days = 0): Promise<void> {
  const prepared = await sound.shell('restore', 'prepare', 'latest', '--yes', '--only', 'secrets', '--identity-file', join(dir, 'my.key'));
  expect(prepared).toMatchObject({ exit: 0 });
  await sound.stop();
  const store = new DatabaseSync(join(sound.dataDir, 'steward.db'), { timeout: 5000 });
  store
    .prepare("UPDATE restores SET state = ?, step = ?, changed_at = ? WHERE state = 'prepared'")
    .run(state, step, Date.now() - days * 86_400_000);
  store.close();
  await sound.start();
}

/** A Steward of its own that looks after itself every second. */
async function opened({ config = {}, ...options }: StewardOptions = {}): Promise<Steward> {
  const steward = await home.steward({
    ...options,
    start: false,
    config: { alerts: { webhook: { url_file: 'secrets/hook' } }, doctor: { every: '1s' }, ...config },
  });
  // As `init` makes it.
  await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(steward.bot.userId)}`, { user_type: 'bot' });
  steward.putSecret('hook', hook.url);
  steward.putSecret('heartbeat', monitor.url);
  await steward.start();
  return steward;
}

/** Commands of the page of an alert, in order. */
function commandsOf(id: string): string[] {
  const page = operations.split(/^##+ /mu).find((section) => section.startsWith(`Alert ${id}\n`)) ?? '';
  return [...page.matchAll(/^ {4,}(\S.*)$/gmu)].map(([, command = '']) => command);
}

interface Given {
  /** Exit codes of commands that are to fail, by their first words. */
  exits?: Record<string, number>;
  /** What stands for words in capitals. */
  fill?: Record<string, string>;
}

/** Types all of a page. @returns what came out, command by command */
async function typed(id: AlertId, steward: Steward, { exits = {}, fill = {} }: Given = {}): Promise<string[]> {
  const program = await writeProgram(join(steward.dir, 'bin'), steward.configPath);
  const words: Record<string, string> = {
    URL: home.synapse.url,
    DATA_DIR: steward.dataDir,
    FILE: join(dir, 'admin-token'),
    ...fill,
  };
  const said: string[] = [];
  for (const command of commandsOf(id)) {
    const filled = command
      .replaceAll(/\b[A-Z][A-Z_]+\b/gu, (word) => words[word] ?? word)
      // It is where `init` looks by itself, on a machine of its own.
      .replace(/^steward init/u, `steward init --dir ${steward.dir}`);
    const child = spawn('sh', ['-c', filled], {
      env: { ...process.env, PATH: `${dirname(program)}:${process.env['PATH'] ?? ''}` },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, talk, [exit]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close') as Promise<[number]>]);
    const expected = Object.entries(exits).find(([start]) => command.startsWith(start))?.[1] ?? 0;
    if (exit !== expected) throw new Error(`${filled}: exit code ${exit}, not ${expected}\n${out}${talk}`);
    said.push(out + talk);
  }
  return said;
}

const told = (id: AlertId): Promise<SentAlert> =>
  until(() => hook.alerts.slice(since).find((alert) => saidOf(alert, id) === 'stands'), 30_000, `${id} is told`);
const ended = (id: AlertId): Promise<SentAlert> =>
  until(() => hook.alerts.slice(since).find((alert) => saidOf(alert, id) === 'over'), 40_000, `${id} is over`);

/** As if every backup had been made that many hours ago. */
function aged(hours: number): void {
  const store = new DatabaseSync(join(sound.dataDir, 'steward.db'), { timeout: 5000 });
  store.prepare('UPDATE backups SET database_at = ?').run(Date.now() - hours * 3_600_000);
  store.close();
}

/** Somebody whom the configuration does not name is in the room. */
async function strangerIn(steward: Steward, localpart: string): Promise<string> {
  const stranger = openClient({ ...(await home.synapse.register({ localpart })), url: home.synapse.url });
  await steward.alice.client.invite(steward.roomId, stranger.userId);
  await stranger.join(steward.roomId);
  await told('room.stranger');
  return stranger.userId;
}

async function loggedOut(steward: Steward): Promise<void> {
  await steward.client.request('POST', '/_matrix/client/v3/logout', {});
  await told('room.unheard');
}

async function ownPower(steward: Steward): Promise<void> {
  const power = await steward.client.getState(steward.roomId, 'm.room.power_levels');
  const users = { ...(power['users'] as object), [steward.bot.userId]: 0 };
  await steward.client.setState(steward.roomId, 'm.room.power_levels', { ...power, users });
}

/** How each alert comes about, and what its page does about it. */
const scenes: Record<AlertId, () => Promise<void>> = {
  'room.unheard': async () => {
    const steward = await opened();
    await loggedOut(steward);
    await typed('room.unheard', steward, { exits: { 'steward doctor': 1 } });
    await ended('room.unheard');
    await steward.stop();
  },
  'room.stranger': async () => {
    const steward = await opened();
    const stranger = await strangerIn(steward, 'mallory');
    const [checked = ''] = await typed('room.stranger', steward);
    expect(checked).toContain(stranger);
    await ended('room.stranger');
    const { out } = await steward.shell('server', 'room', 'check');
    expect(out).toContain('is as it should be');
    await steward.stop();
  },
  'room.replaced': async () => {
    const steward = await opened();
    await steward.alice.client.setState(steward.roomId, 'm.room.tombstone', {
      body: 'over there',
      replacement_room: '!elsewhere:example.org',
    });
    await told('room.replaced');
    await typed('room.replaced', steward);
    await ended('room.replaced');
    await steward.stop();
  },
  'room.power-lost': async () => {
    const steward = await opened();
    await ownPower(steward);
    await told('room.power-lost');
    await typed('room.power-lost', steward);
    await ended('room.power-lost');
    await steward.stop();
  },
  'room.weak': async () => {
    const steward = await opened();
    await steward.client.setState(steward.roomId, 'm.room.history_visibility', { history_visibility: 'world_readable' });
    await told('room.weak');
    await typed('room.weak', steward);
    await ended('room.weak');
    await steward.stop();
  },
  'identity.changed': async () => {
    await typed('identity.changed', sound);
  },
  'identity.replaced': async () => {
    const steward = await opened({ encrypted: true });
    await steward.stop();
    const [, verified = ''] = await typed('identity.replaced', steward);
    expect(verified).toContain('device');
    await steward.start();
    await steward.stop();
  },
  'approval.alone': async () => {
    const steward = await opened({ config: { approval: { mode: 'single', catastrophic_in_plain_room: true } } });
    const said = await steward.alice.say('!user create boss --admin');
    const prompt = await steward.alice.prompt(said);
    await steward.alice.say(`!approve ${codeIn(prompt)}`);
    await told('approval.alone');
    await typed('approval.alone', steward, { fill: { ID: resultOf(prompt)?.job_id ?? '' } });
    expect(resultOf(await steward.alice.answer(said))?.outcome).not.toBe('done');
    expect(await home.account('boss')).toBeNull();
    await steward.stop();
  },
  'approval.break-glass': async () => {
    await home.register('gone');
    expect((await sound.shell('user', 'deactivate', 'gone', '--break-glass', 'agreed on by telephone')).exit).toBe(0);
    await told('approval.break-glass');
    expect((await typed('approval.break-glass', sound)).join()).toContain('user deactivate');
  },
  'backup.failed': async () => {
    const disk = join(dir, 'disk');
    renameSync(disk, `${disk}.away`);
    writeFileSync(disk, '');
    expect((await sound.shell('backup', 'create')).exit).toBe(1);
    await told('backup.failed');
    const [again = ''] = await typed('backup.failed', sound, { exits: { 'steward backup create': 1 } });
    expect(again).toContain('error: ');
    rmSync(disk);
    renameSync(`${disk}.away`, disk);
    expect((await sound.shell('backup', 'create')).exit).toBe(0);
    await ended('backup.failed');
  },
  'backup.late': async () => {
    aged(27);
    await told('backup.late');
    const [shown = ''] = await typed('backup.late', sound);
    expect(shown).toMatch(/would take .* and lose 27 h/);
    await ended('backup.late');
  },
  'backup.shrunk': async () => {
    const store = new DatabaseSync(join(sound.dataDir, 'steward.db'), { timeout: 5000 });
    store.exec(
      "UPDATE steps SET result = json_set(result, '$.databaseBytes', 3 * json_extract(result, '$.databaseBytes')) WHERE json_extract(result, '$.databaseBytes') IS NOT NULL",
    );
    const before = String(store.prepare('SELECT max(id) AS id FROM backups').get()?.['id']);
    store.close();
    expect((await sound.shell('backup', 'create')).exit).toBe(0);
    const page = await told('backup.shrunk');
    expect(page.body).toMatch(new RegExp(`database of [\\d.]+ [kM]B after [\\d.]+ [kM]B: \\d{8}_\\d{6} after ${before}`));
    await typed('backup.shrunk', sound, { fill: { ID: before } });
    expect((await sound.shell('backup', 'list')).out).toMatch(new RegExp(`${before}.*📌`));
  },
  'restore.waiting': async () => {
    await restoreIn('prepared', null, 4);
    await told('restore.waiting');
    const [listed = ''] = await typed('restore.waiting', sound);
    expect(listed).toContain('prepared');
    await ended('restore.waiting');
  },
  'restore.recovered': async () => {
    await restoreIn('preparing');
    expect((await told('restore.recovered')).body).toMatch(/was cut off, and is now taken away/);
    const [listed = ''] = await typed('restore.recovered', sound);
    expect(listed).toContain('taken away');
  },
  'doctor.restores': async () => {
    writeFileSync(broken(), '');
    await restoreIn('cutting-over', 'stop');
    await told('doctor.restores');
    rmSync(broken());
    await typed('doctor.restores', sound, { exits: { 'steward doctor': 1 } });
    await ended('doctor.restores');
    expect((await sound.shell('restore', 'finish', 'latest', '--break-glass', 'it was a try')).exit).toBe(0);
  },
  'doctor.backups': async () => {
    aged(51);
    await told('doctor.backups');
    await typed('doctor.backups', sound);
    await ended('doctor.backups');
  },
  'doctor.engine': async () => {
    const steward = await opened({
      config: {
        stack: { homeserver_config: [home.synapse.configPath] },
        backup: {
          destinations: { disk: { directory: join(dir, 'other') } },
          database: { engine: 'pgbackrest', server: 'main' },
          keys: { recipients: [recipient] },
        },
      },
    });
    await told('doctor.engine');
    const [looked = ''] = await typed('doctor.engine', steward, { exits: { 'steward doctor': 1, 'steward backup create': 1 } });
    expect(looked).toContain('missing stanza path');
    await steward.stop();
  },
  'doctor.heartbeat': async () => {
    monitor.status = 500;
    expect((await sound.shell('backup', 'create')).exit).toBe(0);
    await told('doctor.heartbeat');
    await typed('doctor.heartbeat', sound, { exits: { 'steward doctor': 1 } });
    monitor.status = 200;
    expect((await sound.shell('backup', 'create')).exit).toBe(0);
    await ended('doctor.heartbeat');
  },
  'doctor.homeserver': async () => {
    await home.synapse.stop();
    await told('doctor.homeserver');
    await typed('doctor.homeserver', sound, { exits: { 'steward doctor': 1, curl: 7 } });
    await home.synapse.start();
    await ended('doctor.homeserver');
    await sound.becomes(200, 40_000);
  },
  'doctor.token': async () => {
    const steward = await opened();
    await loggedOut(steward);
    await typed('doctor.token', steward);
    await ended('room.unheard');
    expect((await steward.shell('doctor')).exit).toBe(0);
    await steward.stop();
  },
  'doctor.admin': async () => {
    const steward = await opened();
    await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(steward.bot.userId)}`, { admin: false });
    await told('doctor.admin');
    await typed('doctor.admin', steward);
    await ended('doctor.admin');
    await steward.stop();
  },
  'doctor.room': async () => {
    const steward = await opened();
    await strangerIn(steward, 'trent');
    await typed('doctor.room', steward, { exits: { 'steward doctor': 1 } });
    await ended('room.stranger');
    await steward.stop();
  },
  'doctor.crypto': async () => {
    const steward = await opened({ encrypted: true });
    await steward.stop();
    await typed('doctor.crypto', steward);
  },
  'doctor.channels': async () => {
    const steward = await opened({ config: { alerts: {} } });
    await steward.alice.hears((body) => body.includes('(doctor.channels)'), 30_000);
    await typed('doctor.channels', steward, { exits: { 'steward doctor': 1 } });
    await steward.stop();
    await typed('doctor.channels', sound);
    expect(hook.alerts.at(-1)?.title).toBe('Test message');
  },
  'doctor.rate-limit': async () => {
    await typed('doctor.rate-limit', sound);
  },
  'doctor.store': async () => {
    await typed('doctor.store', sound);
  },
  'doctor.disk': async () => {
    await typed('doctor.disk', sound);
  },
  'doctor.clock': async () => {
    await typed('doctor.clock', sound);
  },
};

test.each(Object.keys(alertTable) as AlertId[])('%s: its page is typed where it stands', async (id) => {
  expect(commandsOf(id)).not.toEqual([]);
  since = hook.alerts.length;
  await scenes[id]();
});
