import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { openClient, type RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Commands that run by a timetable. */

jest.setTimeout(120_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
});

beforeEach(async () => {
  steward = await home.steward({ proxied: true });
});

afterEach(() => steward.stop());

afterAll(() => home.dispose());

const owner = (localpart: string): Record<string, unknown> => ({ user_ids: [home.userId(localpart)], roles: ['owner'] });
const mentioned = (event: RoomEvent): unknown => (event.content['m.mentions'] as { user_ids?: string[] } | undefined)?.user_ids;

/** The reports of a schedule in the room, from the homeserver itself. */
async function reports(name: string): Promise<RoomEvent[]> {
  return (await steward.alice.history()).filter((event) => event.type === 'm.room.message' && bodyOf(event).startsWith(`${name} · `));
}

/** What Steward has stored, read past it. */
function rows(sql: string): Record<string, unknown>[] {
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'), { readOnly: true, timeout: 5000 });
  try {
    return database.prepare(sql).all();
  } finally {
    database.close();
  }
}

test('a stored schedule runs a read as its maker, and posts the answer', async () => {
  const asked = await steward.alice.say('!schedule add health "*/2 * * * * *" "server status"');
  const prompt = await steward.alice.prompt(asked);
  expect(bodyOf(prompt)).toMatch(/run \*\/2 \* \* \* \* \* \(UTC\): !server status.*first at .*Tier: confirmed\./s);
  expect(rows('SELECT * FROM schedules')).toEqual([]);
  await steward.alice.react(prompt.event_id, '✅');
  expect(bodyOf(await steward.alice.answer(asked))).toMatch(
    /Added the schedule health\..*when: \*\/2 \* \* \* \* \* \(UTC\).*next: \d{4}-\d\d-\d\d \d\d:\d\d UTC/s,
  );

  const report = await steward.alice.hears((body) => body.startsWith('health · !server status · due '));

  expect(bodyOf(report)).toContain('answers.');
  expect(report.content['msgtype']).toBe('m.notice');
  expect(resultOf(report)).toMatchObject({ command: 'server status', outcome: 'done' });
  expect(bodyOf(await steward.alice.ask('!schedule list'))).toMatch(/health · !server status · .*as alice · next .* · last .* ✅ done/);
  expect((await steward.health('metrics')).body).toMatch(/^steward_schedule_last_success_timestamp_seconds\{schedule="health"\} \d+/m);
  expect(resultOf(await steward.alice.ask('!schedule remove health'))).toMatchObject({ outcome: 'done' });
  expect(rows('SELECT * FROM schedules')).toEqual([]);
  expect(rows('SELECT * FROM schedule_runs')).toEqual([]);
});

test('a change is made as a job of its maker; one that fails pings the maker and the owners', async () => {
  steward.configure({
    roles: {
      owner: { owner: true, request: { groups: ['*'], tier: 'catastrophic' } },
      helper: { request: { groups: ['user', 'schedule'], tier: 'confirmed' } },
    },
    people: { alice: owner('alice'), bob: { user_ids: [home.userId('bob')], roles: ['helper'] } },
  });
  expect(resultOf(await steward.alice.ask('!server reload'))?.outcome).toBe('done');
  expect(resultOf(await steward.bob.ask('!schedule add status "* * * * * *" "server status" -y'))).toMatchObject({
    error_id: 'access.not-allowed',
  });

  await steward.bob.ask('!schedule add maker "*/2 * * * * *" "user create by-schedule" -y');
  const done = await steward.alice.hears((body, event) => body.startsWith('maker · ') && resultOf(event)?.outcome === 'done');
  expect(bodyOf(done)).toContain('Created @by-schedule:');
  expect(await home.account('by-schedule')).not.toBeNull();

  const failed = await steward.alice.hears((body, event) => body.startsWith('maker · ') && resultOf(event)?.outcome === 'refused');
  expect(resultOf(failed)?.error_id).toBe('user.exists');
  expect(failed.content['msgtype']).toBe('m.text');
  expect(mentioned(failed)).toEqual([home.userId('bob'), home.userId('alice')]);
  expect(resultOf(await steward.bob.ask('!undo'))?.error_id).not.toBe('undo.nothing');
  expect(await home.account('by-schedule')).toMatchObject({ deactivated: false });
  await steward.alice.ask('!schedule remove maker');
  expect(rows("SELECT requester, origin FROM jobs WHERE command = 'user create'").map((row) => [row['requester'], row['origin']])).toEqual([
    [expect.stringContaining('"person":"bob"'), expect.stringContaining('"name":"maker"')],
  ]);
  expect(bodyOf(await steward.alice.ask('!audit list'))).toMatch(/schedule/);
});

test('a mistake is told when the schedule is added', async () => {
  const mistakes: readonly (readonly [line: string, errorId: string, words: RegExp])[] = [
    ['!schedule add x "0 25 * * *" "server status" -y', 'usage.invalid-value', /0 25 \* \* \*\n {2}\^\^/],
    ['!schedule add x "0 0 30 2 *" "server status" -y', 'usage.invalid-value', /no such day in that month/],
    ['!schedule add x 02:30 "server staus" -y', 'usage.unknown-command', /server staus\n {7}\^{5}/],
    ['!schedule add x 02:30 "user info" -y', 'usage.missing-value', /USER is missing/],
    ['!schedule add x 02:30 "user info nobody-here" --zone Mars/Olympus -y', 'usage.invalid-value', /a time zone such as/],
    ['!schedule add x 02:30 "undo" -y', 'schedule.not-schedulable', /for a person who is there/],
    ['!schedule add x 02:30 "schedule remove x" -y', 'schedule.not-schedulable', /for a person who is there/],
    ['!schedule add x 02:30 "user deactivate carol" --max-objects 21', 'usage.invalid-value', /at most 20 objects a run/],
    ['!schedule add x 02:30 "server status" --max-objects 3 -y', 'usage.invalid-value', /runs without an approval/],
    ['!schedule add x 02:30 "user update-password bob"', 'schedule.not-schedulable', /is catastrophic, because/],
    ['!schedule add x "* * * * *" "server status" --jitter 5m -y', 'usage.invalid-value', /jitter is as long as/],
    ['!schedule add X 02:30 "server status" -y', 'usage.invalid-value', /lower-case/],
  ];
  for (const [line, errorId, words] of mistakes) {
    const answer = await steward.alice.ask(line);
    expect({ line, error: resultOf(answer)?.error_id }).toEqual({ line, error: errorId });
    expect(bodyOf(answer)).toMatch(words);
  }
  await steward.alice.say('!schedule add x 02:30 "user create y --password hunter2" -y');
  await steward.alice.hears((_body, event) => resultOf(event)?.error_id === 'usage.secret-in-command');
  const bare = await steward.alice.say('!schedule add x 02:30 "user update-password carol hunter2" -y');
  await until(
    async () => (await steward.alice.history()).find(({ event_id: id }) => id === bare)?.content['body'] === undefined,
    10_000,
    'it is removed',
  );
  const { exit, err } = await steward.shell('schedule', 'add', 'x', '02:30', 'user create y --password hunter2', '--yes');
  expect([exit, err]).toEqual([2, expect.stringContaining('usage.secret-in-command')]);
  expect(rows('SELECT * FROM schedules')).toEqual([]);
});

test('kill -9 at any moment loses no run that is due, makes none twice, and each tells once', async () => {
  await steward.alice.ask('!schedule add often "* * * * * *" "server reload" -y');
  for (let n = 0; n < 5; n += 1) {
    await sleep(700 + 331 * n);
    await steward.kill();
    await steward.start();
  }
  const paused = await steward.alice.ask('!schedule pause often');
  expect(resultOf(paused)?.outcome).toBe('done');
  await until(
    () => rows("SELECT * FROM jobs WHERE state IN ('approved', 'running', 'pending')").length === 0,
    20_000,
    'every job has ended',
  );
  await until(() => rows('SELECT * FROM outbox WHERE sent_at IS NULL').length === 0, 20_000, 'everything is sent');

  const jobs = rows(
    "SELECT id, request_id, state, json_extract(origin, '$.dueAt') AS due_at FROM jobs WHERE json_extract(origin, '$.kind') = 'schedule'",
  );
  const runs = rows('SELECT due_at, job_id, outcome FROM schedule_runs WHERE job_id IS NOT NULL');
  expect(jobs.length).toBeGreaterThan(5);
  expect(new Set(jobs.map((job) => job['due_at'])).size).toBe(jobs.length);
  expect(runs.map((run) => run['job_id']).sort()).toEqual(jobs.map((job) => job['id']).sort());
  expect(runs.filter((run) => run['outcome'] === 'running')).toEqual([]);
  const told = (await reports('often')).flatMap((event) => resultOf(event)?.job_id ?? []);
  expect(told.sort()).toEqual(jobs.map((job) => String(job['id'])).sort());
});

test('a schedule stops when the role of its maker goes, and goes on when somebody resumes it after the role is back', async () => {
  await steward.bob.ask('!schedule add bobs "* * * * * *" "server version" -y');
  await steward.alice.hears((body, event) => body.startsWith('bobs · ') && resultOf(event)?.outcome === 'done');

  steward.configure({ people: { alice: owner('alice') } });
  await steward.alice.ask('!server reload');

  const stopped = await steward.alice.hears((body) => body.startsWith('bobs · ') && body.includes('schedule.role-gone'));
  expect(bodyOf(stopped)).toContain(`bob (${home.userId('bob')}) is not in \`people:\` any more`);
  expect(mentioned(stopped)).toEqual([home.userId('bob'), home.userId('alice')]);
  expect(bodyOf(await steward.alice.ask('!schedule list'))).toMatch(/bobs · .*⏸ paused: bob .* is not in/);
  const before = (await reports('bobs')).length;
  expect(resultOf(await steward.alice.ask('!schedule resume bobs'))).toMatchObject({ error_id: 'schedule.role-gone' });
  expect(resultOf(await steward.alice.ask('!schedule run bobs'))).toMatchObject({ error_id: 'schedule.paused' });
  expect(await reports('bobs')).toHaveLength(before);

  steward.configure({ people: { alice: owner('alice'), bob: owner('bob') } });
  await steward.alice.ask('!server reload');
  expect(resultOf(await steward.alice.ask('!schedule resume bobs'))?.outcome).toBe('done');
  await until(async () => (await reports('bobs')).length > before, 20_000, 'it runs again');
  await steward.alice.ask('!schedule remove bobs');
});

test('rows of a list come as a file', async () => {
  await steward.alice.ask('!schedule add accounts "* * * * * *" "user list --csv" -y');
  await steward.alice.hears((body) => body.startsWith('accounts · !user list --csv · due '));
  const file = await steward.alice.hears((_body, event) => event.content['msgtype'] === 'm.file');
  expect(file.content['filename']).toMatch(/\.csv$/);
  await steward.alice.ask('!schedule remove accounts');
});

test('runs go on while the room is out of reach, and are told when it is back', async () => {
  await steward.alice.ask('!schedule add through "*/2 * * * * *" "server reload" -y');
  const cut = home.proxy.fault({ name: 'cut off', match: () => true, times: Infinity, action: 'reset' });
  const before = rows('SELECT * FROM schedule_runs').length;
  await until(() => rows("SELECT * FROM schedule_runs WHERE outcome = 'done'").length > before + 2, 30_000, 'it runs');
  expect(rows('SELECT * FROM outbox WHERE sent_at IS NULL').length).toBeGreaterThan(0);
  cut.remove();
  const due = rows("SELECT job_id FROM schedule_runs WHERE outcome = 'done' ORDER BY due_at").map((row) => String(row['job_id']));
  await until(
    async () => {
      const told = new Set((await reports('through')).map((event) => resultOf(event)?.job_id));
      return due.every((job) => told.has(job));
    },
    30_000,
    'each run is told',
  );
  await steward.alice.ask('!schedule remove through');
});

test('the shell adds, lists and runs schedules of the daemon; without one none can be run', async () => {
  const added = await steward.shell(
    'schedule',
    'add',
    'nightly',
    'daily 02:30',
    'server version',
    '--zone',
    'Europe/Berlin',
    '--jitter',
    '5m',
    '--yes',
  );
  expect(added).toMatchObject({ exit: 0 });
  expect(added.out).toMatch(/next\s*:? .*02:3\d CES?T/);
  expect((await steward.shell('schedule', 'run', 'nightly')).exit).toBe(0);
  const report = await steward.alice.hears((body) => body.startsWith('nightly · !server version · asked for'));
  expect(resultOf(report)?.outcome).toBe('done');

  await steward.stop();
  expect(await steward.shell('schedule', 'run', 'nightly')).toMatchObject({ exit: 3, err: expect.stringContaining('schedule.no-daemon') });
  const listed = await steward.shell('schedule', 'list', '--json');
  expect(JSON.parse(listed.out)).toMatchObject([
    { name: 'nightly', due: 'daily 02:30', timeZone: 'Europe/Berlin', jitterSeconds: 300, person: null },
  ]);
  const removed = await steward.shell('schedule', 'remove', 'nightly');
  expect(removed.out).toContain('schedule add nightly "daily 02:30" "server version" --zone=Europe/Berlin --jitter=300s');
});

test.each([
  [
    'a freeze',
    'access.frozen',
    async () => expect(resultOf(await steward.alice.ask('!server freeze "database maintenance" -y'))?.outcome).toBe('done'),
    '!server thaw -y',
  ],
  [
    'a lock-down',
    'room.locked',
    async () => {
      const mallory = openClient({ ...(await home.register('mallory')), url: home.synapse.url });
      await home.alice.client.invite(steward.roomId, mallory.userId);
      await mallory.join(steward.roomId);
      await steward.alice.hears((body) => body.includes('(room.stranger)'));
    },
    '!server room ack -y',
  ],
] as const)('%s passes a change over, which is told and made up for when it is over, and a read goes on', async (_case, id, begin, end) => {
  const due = new Date(Date.now() + 14_000);
  const when = `${due.getUTCSeconds()} ${due.getUTCMinutes()} ${due.getUTCHours()} * * *`;
  await steward.alice.ask(`!schedule add caught "${when}" "server reload" -y`);
  await steward.alice.ask(`!schedule add left "${when}" "server reload" --catch-up none -y`);
  await steward.alice.ask(`!schedule add looks "${when}" "server version" -y`);
  await begin();

  const [caught, left] = await Promise.all(
    ['caught', 'left'].map((name) => steward.alice.hears((body) => body.startsWith(`${name} · `) && body.includes(`(${id})`), 20_000)),
  );
  expect(bodyOf(caught!)).toContain('one run makes up for them when that is over');
  expect(bodyOf(left!)).toContain('!schedule run left runs it');
  expect(mentioned(left!)).toContain(home.userId('alice'));
  await steward.alice.hears((body, event) => body.startsWith('looks · ') && resultOf(event)?.outcome === 'done');
  const passedOver = steward.audit().filter(({ record }) => record.event === 'schedule.passed-over');
  expect(passedOver.map(({ record }) => [record.targets, record.failure, record.command]).sort()).toEqual([
    [['caught'], id, 'server reload'],
    [['left'], id, 'server reload'],
  ]);
  const runs = (): unknown[] =>
    rows('SELECT name, outcome FROM schedule_runs JOIN schedules ON id = schedule_id ORDER BY name').map(({ name, outcome }) => [
      name,
      outcome,
    ]);
  expect(runs()).toEqual([
    ['caught', 'held'],
    ['left', 'held'],
    ['looks', 'done'],
  ]);
  expect(rows("SELECT * FROM jobs WHERE command = 'server reload'")).toEqual([]);

  expect(resultOf(await steward.alice.ask(end))?.outcome).toBe('done');

  const made = await steward.alice.hears((body, event) => body.startsWith('caught · ') && resultOf(event)?.outcome === 'done');
  expect(bodyOf(made)).toContain('Read the configuration');
  await steward.alice.ask('!server version');
  expect(runs()).toEqual([
    ['caught', 'done'],
    ['left', 'held'],
    ['looks', 'done'],
  ]);
  expect(rows("SELECT * FROM jobs WHERE command = 'server reload'")).toHaveLength(1);
  for (const name of ['caught', 'left', 'looks']) await steward.alice.ask(`!schedule remove ${name}`);
});
