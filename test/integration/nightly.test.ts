import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { confirmKeys } from './support/keys.ts';
import { openMonitor, type Monitor } from './support/monitor.ts';
import { bodyOf, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook, saidOf, type Webhook } from './support/webhook.ts';

/** Backups that are made by themselves: what is told of them in the room and off the server, and what is done about it there. */

jest.setTimeout(120_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');

let home: Homeserver;
let steward: Steward;
let dir: string;
let hook: Webhook;
let monitor: Monitor;

beforeAll(async () => {
  home = await Homeserver.start();
  dir = mkdtempSync(join(tmpdir(), 'nightly-'));
  hook = await openWebhook();
  monitor = await openMonitor();
  spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
  const recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8'))?.[0];
  const owner = (name: string): object => ({ user_ids: [home.userId(name)], roles: ['owner'] });
  steward = await home.steward({
    start: false,
    config: {
      people: { alice: owner('alice'), bob: owner('bob') },
      stack: { homeserver_config: [home.synapse.configPath] },
      doctor: { every: '1s' },
      alerts: { webhook: { url_file: 'secrets/hook' } },
      backup: {
        destinations: { disk: { directory: disk() } },
        heartbeat: { url_file: 'secrets/heartbeat' },
        keys: { recipients: [recipient] },
        retention: { last: 1, daily: 0, weekly: 0, monthly: 0, within: '1s' },
      },
    },
  });
  steward.putSecret('hook', hook.url);
  steward.putSecret('heartbeat', monitor.url);
  await steward.start();
  await confirmKeys(async (...words) => (await steward.shell(...words)).out, join(dir, 'my.key'));
}, 120_000);

afterAll(async () => {
  await home.dispose();
  hook.close();
  monitor.close();
  rmSync(dir, { recursive: true, force: true });
});

const disk = (): string => join(dir, 'disk');
const backups = (): string[] =>
  readdirSync(disk())
    .filter((name) => /^\d/.test(name))
    .sort();
const isWhole = (id: string): boolean => existsSync(join(disk(), id, 'manifest.json'));
const mentioned = (event: RoomEvent): string[] => (event.content['m.mentions'] as { user_ids?: string[] } | undefined)?.user_ids ?? [];

function inStore<T>(work: (store: DatabaseSync) => T): T {
  const store = new DatabaseSync(join(steward.dataDir, 'steward.db'), { timeout: 5000 });
  try {
    return work(store);
  } finally {
    store.close();
  }
}

/** A write that its asker confirms. @returns the answer */
async function confirmed(line: string): Promise<RoomEvent> {
  const said = await steward.alice.say(line);
  const prompt = await steward.alice.prompt(said);
  await steward.alice.react(prompt.event_id, '✅');
  return steward.alice.answer(said);
}

/** The reports of a schedule, from the homeserver itself, oldest first. */
async function reports(name = 'backup'): Promise<RoomEvent[]> {
  return (await steward.alice.history()).filter((event) => event.type === 'm.room.message' && bodyOf(event).startsWith(`${name} · `));
}

/** The report that comes next. */
async function reportAfter(count: number, name = 'backup'): Promise<RoomEvent> {
  return until(async () => (await reports(name))[count], 60_000, `report ${count + 1} of ${name}`).catch((error: unknown) => {
    throw new Error(steward.log.slice(-4000), { cause: error });
  });
}

/** A run out of turn. @returns its report */
async function run(): Promise<RoomEvent> {
  const before = (await reports()).length;
  expect(resultOf(await steward.alice.ask('!schedule run backup'))?.outcome).toBe('done');
  return reportAfter(before);
}

/** Emojis that Steward has put under an event. */
async function buttons(event: RoomEvent): Promise<unknown[]> {
  const history = await steward.alice.history();
  return history
    .filter(
      ({ type, sender, content }) =>
        type === 'm.reaction' && sender === steward.bot.userId && relationOf({ content } as RoomEvent)['event_id'] === event.event_id,
    )
    .map((reaction) => relationOf(reaction)['key']);
}

test('it is scheduled, shown, changed and stopped in words', async () => {
  expect(bodyOf(await steward.alice.ask('!backup schedule'))).toMatch(
    /Backups are not scheduled.*!backup schedule 02:30.*no backup is proven/s,
  );
  const said = await steward.alice.say('!backup schedule 02:30 Europe/Berlin');
  const prompt = await steward.alice.prompt(said);
  expect(bodyOf(prompt)).toMatch(
    /back up 02:30 \(Europe\/Berlin\): !backup create.*each time: back up steward\.test.*first at \d{4}-\d\d-\d\d 02:30 CES?T/s,
  );
  await steward.alice.react(prompt.event_id, '✅');
  expect(bodyOf(await steward.alice.answer(said))).toMatch(
    /Backups are scheduled\..*when: 02:30 \(Europe\/Berlin\).*next: \d{4}-\d\d-\d\d 02:30 CES?T.*undo: !backup schedule --remove/s,
  );
  expect(bodyOf(await steward.alice.ask('!schedule list'))).toMatch(/backup · !backup create · 02:30 \(Europe\/Berlin\), as alice/);

  expect(bodyOf(await confirmed('!backup schedule "weekdays 03:15"'))).toMatch(
    /when: weekdays 03:15 \(Europe\/Berlin\).*undo: !backup schedule 02:30 Europe\/Berlin/s,
  );
  expect(bodyOf(await confirmed('!undo'))).toContain('when: 02:30 (Europe/Berlin)');
  expect(bodyOf(await confirmed('!backup schedule --remove'))).toMatch(/scheduled no more.*undo: !backup schedule 02:30 Europe\/Berlin/s);
  expect(inStore((store) => store.prepare('SELECT * FROM schedules').all())).toEqual([]);
  expect(bodyOf(await confirmed('!undo'))).toContain('when: 02:30 (Europe/Berlin)');
  for (const line of [
    '!backup schedule 25:30',
    '!backup schedule 02:30 Mars/Olympus',
    '!backup schedule --to disk',
    '!backup schedule 02:30 --max-objects 3',
  ])
    expect(resultOf(await steward.alice.ask(line))?.outcome).toBe('usage');
});

test('the report says how it was, what is proven on both axes, and what a restore would come to', async () => {
  const first = await run();
  for (const part of [
    /^backup · !backup create · asked for/,
    /Backed up as \d{8}_\d{6}: [\d.]+ [kM]B in [\d.]+ s/,
    /in: disk, \S+: stored L1, read and hashed/,
    /content: L4, restored and compared, all media hashed/,
    /A restore now would take \d+ s and lose \d+ s\. Measured: the proof of \d{8}_\d{6}/,
    /Next run: \d{4}-\d\d-\d\d 02:30 CES?T\./,
  ])
    expect(bodyOf(first)).toMatch(part);
  expect(bodyOf(first)).not.toMatch(/against the last|half the size/);
  expect(mentioned(first)).toEqual([]);
  const second = await run();
  expect(bodyOf(second)).toMatch(
    /against the last: database [\d.]+ [kM]B \([+-]?\d+ %\), media none, took [\d.]+ s after [\d.]+ s \(\d{8}_\d{6}\)/,
  );
  expect(bodyOf(second)).not.toContain('half the size');
  expect(bodyOf(await steward.alice.ask('!backup schedule'))).toMatch(/Last run: .*, done\..*A restore now would take/s);
});

test('📜 and 🔁 under it do what the commands do, for those who may', async () => {
  const report = (await reports()).at(-1) as RoomEvent;
  await until(async () => (await buttons(report)).join(' ') === '📜 🔁', 10_000, 'both are there');
  await steward.bob.react(report.event_id, '📜');
  const shown = await steward.alice.answer(report.event_id);
  expect(resultOf(shown)).toMatchObject({ command: 'job info', outcome: 'done' });
  expect(bodyOf(shown)).toMatch(/backup create is done\./);

  // carol is in the room, and nobody.
  const before = backups();
  await steward.carol.react(report.event_id, '🔁');
  await steward.alice.hears((body) => body.includes('access.no-role'));
  const count = (await reports()).length;
  await steward.bob.react(report.event_id, '🔁');
  const again = await reportAfter(count);
  expect(bodyOf(again)).toContain('Backed up as');
  expect(backups()).toHaveLength(before.length + 1);
  const asked = steward.audit().filter(({ record }) => record.event === 'job.requested' && record.command === 'schedule run');
  expect(asked.at(-1)?.record.actor).toMatchObject({ kind: 'person', person: 'bob' });
});

test('what is half as large as the last one is warned of', async () => {
  inStore((store) =>
    store.exec(
      "UPDATE steps SET result = json_set(result, '$.databaseBytes', 3 * json_extract(result, '$.databaseBytes')) WHERE json_extract(result, '$.databaseBytes') IS NOT NULL",
    ),
  );
  expect(bodyOf(await run())).toMatch(
    /⚠️ half the size of the last or less: database of [\d.]+ [kM]B after [\d.]+ [kM]B\. Was that deleted on purpose\?/,
  );
});

test('pruning follows a good backup, by one approval of another person', async () => {
  const said = await steward.alice.say('!backup schedule 02:30 Europe/Berlin --prune --max-objects 15');
  const prompt = await steward.alice.prompt(said);
  expect(bodyOf(prompt)).toMatch(
    /after each good one !backup prune, without being asked again: for 90 d from the approval, at most 15 backups a run.*Tier: destructive/s,
  );
  await steward.bob.react(prompt.event_id, '✅');
  expect(bodyOf(await steward.alice.answer(said))).toMatch(/then: !backup prune.*Approved by bob until/s);
  expect(bodyOf(await steward.alice.ask('!schedule list'))).toMatch(
    /backup-prune · !backup prune · after backup \(Europe\/Berlin\), as alice, approved by bob/,
  );

  const before = backups();
  expect(bodyOf(await run())).toMatch(/Next run: .*, then !backup prune\./);
  const pruned = await reportAfter(0, 'backup-prune');
  expect(bodyOf(pruned)).toMatch(/^backup-prune · !backup prune · after backup\nPruned.*by the standing approval of bob/s);
  // What is within a second of the newest may stay.
  expect(before.filter(isWhole).length).toBeLessThan(2);
  expect(isWhole(backups().at(-1) ?? '')).toBe(true);

  // Another time keeps the approval; a removal ends it, and takes both away.
  expect(bodyOf(await confirmed('!backup schedule 03:00'))).toMatch(/when: 03:00 \(Europe\/Berlin\).*Approved by bob until/s);
  expect(bodyOf(await confirmed('!backup schedule --remove'))).toMatch(
    /undo: !backup schedule 03:00 Europe\/Berlin --prune --max-objects=15/,
  );
  expect(inStore((store) => store.prepare('SELECT * FROM schedules').all())).toEqual([]);
  expect(bodyOf(await confirmed('!backup schedule 02:30 Europe/Berlin'))).toContain('Backups are scheduled');
});

test('a heartbeat is sent for what is proven on both axes, and one that is not taken is told and fails nothing', async () => {
  const before = monitor.beats.length;
  expect(before).toBeGreaterThan(0);
  expect(new Set(monitor.beats)).toEqual(new Set(['GET /ping/83cd2f']));
  expect(bodyOf(await steward.alice.ask('!server doctor'))).toMatch(/heartbeat: sent \d+ s ago for \d{8}_\d{6}/);

  monitor.status = 500;
  expect(resultOf(await run())?.outcome).toBe('done');
  const paged = await until(() => hook.alerts.find(({ alerts }) => alerts.includes('doctor.heartbeat')), 30_000, 'it is told');
  expect(paged.body).toMatch(/the one of \d{8}_\d{6} was not taken: it answered 500/);
  expect(JSON.stringify(hook.alerts)).not.toContain('83cd2f');
  expect(bodyOf(await steward.alice.ask('!server doctor'))).toMatch(/🔴 heartbeat: the one of/);
  monitor.status = 204;
  await run();
  await until(() => monitor.beats.length === before + 1, 20_000, 'the next one is taken');
  await until(() => hook.alerts.find((alert) => saidOf(alert, 'doctor.heartbeat') === 'over'), 20_000, 'it is over');
});

test('the numbers of the newest backup are metrics, each axis by itself', async () => {
  const { body } = await steward.health('metrics');
  for (const line of [
    /^steward_backup_last_timestamp_seconds \d{10}/m,
    /^steward_backup_last_proven_timestamp_seconds \d{10}/m,
    /^steward_backup_last_size_bytes [1-9]\d+$/m,
    /^steward_backup_last_duration_seconds [\d.]+$/m,
    /^steward_backup_last_content_level 4$/m,
    /^steward_backup_last_object_level\{destination="disk"\} 1$/m,
    /^steward_restore_expected_duration_seconds [\d.]+$/m,
  ])
    expect(body).toMatch(line);
});

test('sizes and ages are a picture', async () => {
  const id = backups().filter(isWhole)[0] ?? '';
  inStore((store) => store.prepare('UPDATE backups SET database_at = database_at - ? WHERE id = ?').run(3 * 24 * 3_600_000, id));
  const drawn = bodyOf(await steward.alice.ask('!backup list'));
  expect(drawn).toMatch(/Backups: \d+\n·{26}█··█ now\n +\d+ s █+[▉▊▋▌▍▎▏]? .* [kM]B\n/);
  expect(drawn).toMatch(/ {3}3 d █/);
});

test('one that fails pings people, and pages off the server with the last proven one and what to type; the next good one ends it', async () => {
  const newest = backups().filter(isWhole).at(-1) ?? '';
  renameSync(disk(), `${disk()}.away`);
  writeFileSync(disk(), 'no folder');
  const report = await run();
  expect(resultOf(report)?.outcome).toBe('failed');
  expect(bodyOf(report)).toMatch(
    new RegExp(`error: .*The newest proven backup is ${newest} in disk, \\d+ (?:s|min) old\\..*A restore now would take .*Next run: `, 's'),
  );
  expect(mentioned(report)).toEqual(expect.arrayContaining([home.userId('alice'), home.userId('bob')]));
  const paged = await until(() => hook.alerts.find(({ alerts }) => alerts.includes('backup.failed')), 20_000, 'a page');
  expect(paged.severity).toBe('critical');
  expect(paged.body).toMatch(new RegExp(`the newest proven one, ${newest} in disk, is .* old.*next: \`steward backup create\``, 's'));
  const told = await steward.alice.hears((_body, event) => resultOf(event)?.error_id === 'backup.failed');
  expect(mentioned(told)).toEqual(expect.arrayContaining([home.userId('alice'), home.userId('bob')]));

  rmSync(disk());
  renameSync(`${disk()}.away`, disk());
  // With Synapse stopped the shell asks for it, and the page says that it is over.
  const count = (await reports()).length;
  await home.synapse.stop();
  expect((await steward.shell('schedule', 'run', 'backup')).exit).toBe(0);
  await until(() => hook.alerts.find((alert) => saidOf(alert, 'backup.failed') === 'over'), 60_000, 'it is over');
  await home.synapse.start();
  await steward.becomes(200, 40_000);
  expect(bodyOf(await reportAfter(count))).toContain('Backed up as');
});

test('one that is late pings people after 26 h and is an alarm after 50 h, with Synapse stopped too', async () => {
  const age = (hours: number): void => {
    inStore((store) => store.prepare('UPDATE backups SET database_at = ?').run(Date.now() - hours * 3_600_000));
  };
  const before = hook.alerts.length;
  const paged = (id: string): Promise<object> =>
    until(() => hook.alerts.slice(before).find((alert) => saidOf(alert, id) === 'stands'), 20_000, id);
  await home.synapse.stop();
  age(27);
  expect(await paged('backup.late')).toMatchObject({
    body: expect.stringMatching(/is 27 h old.*next: `steward backup create`/s),
  });
  expect(hook.alerts.slice(before).filter(({ alerts }) => alerts.includes('doctor.backups'))).toEqual([]);
  age(51);
  expect(await paged('doctor.backups')).toMatchObject({ severity: 'critical', body: expect.stringContaining('is 2 d old') });
  await home.synapse.start();
  for (const id of ['backup.late', 'doctor.backups']) {
    const told = await steward.alice.hears(
      (body) => body.split('\n').some((line) => line.endsWith(`(${id})`) && !line.startsWith('🟢')),
      40_000,
    );
    expect(mentioned(told)).toEqual(expect.arrayContaining([home.userId('alice'), home.userId('bob')]));
  }
});

test('a job of cron does it while the daemon is down: it ends with 0, tells the monitor, and pages when it fails', async () => {
  await steward.stop();
  // What cron gives: next to no environment, no terminal, another folder.
  const cron = async (...words: string[]): Promise<{ status: number | null; out: string }> => {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...words, '--config', steward.configPath], {
      ...{ cwd: '/', env: { PATH: '/usr/bin:/bin', HOME: dir, SHELL: '/bin/sh' }, stdio: ['ignore', 'pipe', 'pipe'] },
    });
    const [out, talk, [status]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close') as Promise<[number | null]>,
    ]);
    return { status, out: out + talk };
  };
  const beats = monitor.beats.length;
  expect(await cron('backup', 'create')).toEqual({ status: 0, out: expect.stringContaining('Backed up as') });
  expect(isWhole(backups().at(-1) ?? '')).toBe(true);
  await until(() => monitor.beats.length === beats + 1, 5000, 'the heartbeat');

  const alerts = hook.alerts.length;
  renameSync(disk(), `${disk()}.away`);
  writeFileSync(disk(), 'no folder');
  expect(await cron('backup', 'create')).toEqual({ status: 1, out: expect.stringMatching(/error: .*\nhint: /) });
  await until(() => hook.alerts.slice(alerts).find(({ alerts: ids }) => ids.includes('backup.failed')), 5000, 'a page');
  rmSync(disk());
  renameSync(`${disk()}.away`, disk());
  expect((await cron('backup', 'create')).status).toBe(0);
});
