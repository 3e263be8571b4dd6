import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { confirmKeys } from './support/keys.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Recorded, Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Schedules whose runs were approved once, with bounds: what is gone is seen on the disk and on the homeserver. */

jest.setTimeout(120_000);

const day = 24 * 3_600_000;

let home: Homeserver;
let dir: string;
let steward: Steward;
let made = 0;

beforeAll(async () => {
  home = await Homeserver.start();
  dir = mkdtempSync(join(tmpdir(), 'standing-'));
  spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
  const recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8'))?.[0];
  steward = await home.steward({
    config: {
      people: people(),
      stack: { homeserver_config: [home.synapse.configPath] },
      backup: {
        destinations: { disk: { directory: join(dir, 'disk') } },
        keys: { recipients: [recipient] },
        retention: { last: 1, daily: 0, weekly: 0, monthly: 0, within: '1s' },
      },
    },
  });
  await confirmKeys(async (...words) => (await steward.shell(...words)).out, join(dir, 'my.key'));
});

afterAll(async () => {
  await home.dispose();
  rmSync(dir, { recursive: true, force: true });
});

/** Three owners; `without` names one who is nobody any more. */
function people(without?: string): Record<string, unknown> {
  const owner = (name: string): object => ({ user_ids: [home.userId(name)], roles: name === without ? [] : ['owner'] });
  return { alice: owner('alice'), bob: owner('bob'), carol: owner('carol') };
}

function inStore<T>(work: (store: DatabaseSync) => T): T {
  const store = new DatabaseSync(join(steward.dataDir, 'steward.db'), { timeout: 5000 });
  try {
    return work(store);
  } finally {
    store.close();
  }
}

const rows = (sql: string): Record<string, unknown>[] => inStore((store) => store.prepare(sql).all());
const recorded = (event: string): Recorded[] =>
  steward
    .audit()
    .map(({ record }) => record)
    .filter((record) => record.event === event);
const isWhole = (id: string): boolean => existsSync(join(dir, 'disk', id, 'manifest.json'));
const reports = async (name: string): Promise<RoomEvent[]> =>
  (await steward.alice.history()).filter((event) => event.type === 'm.room.message' && bodyOf(event).startsWith(`${name} · `));

/** A backup as if it had been made that many days ago. @returns its id */
async function backup(daysAgo: number): Promise<string> {
  const before = new Set(existsSync(join(dir, 'disk')) ? readdirSync(join(dir, 'disk')) : []);
  const done = await steward.alice.answer(await steward.alice.say('!backup create'), 60_000);
  expect(resultOf(done)?.outcome).toBe('done');
  const id = readdirSync(join(dir, 'disk')).find((folder) => /^\d/.test(folder) && !before.has(folder)) ?? '';
  inStore((store) => store.prepare('UPDATE backups SET database_at = ? WHERE id = ?').run(Date.now() - daysAgo * day, id));
  return id;
}

/** Alice adds a schedule, and bob approves it. @returns the prompt */
async function added(line: string): Promise<RoomEvent> {
  const said = await steward.alice.say(line);
  const prompt = await steward.alice.prompt(said);
  await steward.bob.react(prompt.event_id, '✅');
  const answer = await steward.alice.answer(said);
  expect({ body: bodyOf(answer), outcome: resultOf(answer)?.outcome }).toMatchObject({ outcome: 'done' });
  expect(bodyOf(answer)).toMatch(/Approved by bob until \d{4}-\d\d-\d\d .*, at most \d+ objects a run/);
  return prompt;
}

/** The prompt of a run that its standing approval does not cover. */
async function askedFor(name: string, after: RoomEvent | null = null): Promise<RoomEvent> {
  const since = after === null ? 0 : after.origin_server_ts;
  return steward.alice.hears(
    (body, event) =>
      resultOf(event)?.outcome === 'waiting' &&
      body.includes(`A run of the schedule ${name} that its standing approval does not cover`) &&
      event.origin_server_ts > since,
    20_000,
  );
}

async function victim(): Promise<{ name: string; isGone: () => Promise<boolean> }> {
  made += 1;
  const name = `standing${made}`;
  await home.register(name);
  return { name, isGone: async () => (await home.account(name))?.deactivated === true };
}

test('a nightly prune is approved once, by another person, and runs within its bound; what is more is asked for', async () => {
  const old = await backup(60);
  await backup(2);
  const said = await steward.alice.say('!schedule add tidy "*/2 * * * * *" "backup prune" --max-objects 1');
  const prompt = await steward.alice.prompt(said);
  for (const part of [
    'run */2 * * * * * (UTC): !backup prune',
    'for 90 d from the approval, at most 1 object a run; what is more is asked for',
    `each time: remove ${old}`,
    'Tier: destructive, because it lets `backup prune` run, which is destructive.',
    'bob or carol: react ✅',
  ])
    expect(bodyOf(prompt)).toContain(part);
  await steward.alice.react(prompt.event_id, '✅');
  expect(resultOf(await steward.alice.answer(prompt.event_id))?.error_id).toBe('approval.own-request');
  expect(rows('SELECT * FROM schedules')).toEqual([]);
  expect(rows('SELECT * FROM standing_approvals')).toEqual([]);

  await steward.bob.react(prompt.event_id, '✅');

  const done = await steward.alice.hears((body, event) => body.startsWith('tidy · ') && resultOf(event)?.outcome === 'done');
  expect(bodyOf(done)).toMatch(/Pruned disk: 1 removed, 1 kept.*by the standing approval of bob, given \d{4}-.*, until \d{4}-/s);
  expect(isWhole(old)).toBe(false);
  expect(recorded('standing.granted')).toMatchObject([
    { command: 'backup prune', tier: 'destructive', targets: ['tidy'], detail: { by: 'bob', max_objects: 1 } },
  ]);
  expect(recorded('standing.used')[0]).toMatchObject({ targets: ['tidy'], detail: { by: 'bob', objects: 1 } });
  expect(bodyOf(await steward.alice.ask('!schedule list'))).toMatch(/as alice, approved by bob until .*, at most 1 objects a run/);
  expect(bodyOf(await steward.alice.ask('!approval list'))).toMatch(/Standing.*tidy backup prune · by alice, approved by bob/s);

  await steward.alice.ask('!schedule pause tidy');
  const [one, two] = [await backup(50), await backup(40)];
  await backup(1);
  await steward.alice.ask('!schedule resume tidy');
  const asked = await askedFor('tidy');
  expect(bodyOf(asked)).toMatch(/it would change \d objects, and at most 1 a run were approved/);
  expect(asked.content['m.mentions']).toEqual({ user_ids: [home.userId('bob'), home.userId('carol')] });
  // Runs that become due meanwhile wait for this one, and ask nothing.
  await steward.alice.hears((body) => body.startsWith('tidy · ') && body.includes('the run before is still going'));
  expect([isWhole(one), isWhole(two)]).toEqual([true, true]);
  expect(rows("SELECT * FROM jobs WHERE state = 'pending'")).toHaveLength(1);
  expect(recorded('standing.exceeded')).toMatchObject([{ targets: ['tidy'], job_id: resultOf(asked)?.job_id }]);

  await steward.carol.react(asked.event_id, '✅');

  const pruned = await steward.alice.hears(
    (_body, event) => resultOf(event)?.job_id === resultOf(asked)?.job_id && resultOf(event)?.outcome === 'done',
  );
  expect(bodyOf(pruned)).toContain('asked by alice, approved by carol');
  expect([isWhole(one), isWhole(two)]).toEqual([false, false]);
  expect((await reports('tidy')).filter((event) => resultOf(event)?.job_id === resultOf(asked)?.job_id)).toHaveLength(1);

  await steward.alice.ask('!schedule remove tidy');
  expect(recorded('standing.ended')).toMatchObject([
    { actor: { kind: 'person', person: 'alice' }, targets: ['tidy'], detail: { why: 'removed' } },
  ]);
});

test('a kill between request, approval and run loses nothing and runs it once', async () => {
  const { name, isGone } = await victim();
  const said = await steward.alice.say(`!schedule add once "*/3 * * * * *" "user deactivate ${name}"`);
  const prompt = await steward.alice.prompt(said);
  await steward.kill();
  await steward.start();
  expect(await isGone()).toBe(false);
  await steward.bob.react(prompt.event_id, '✅');
  await steward.alice.answer(said);
  await steward.kill();
  await steward.start();
  await until(isGone, 20_000, 'it is gone');
  await steward.alice.hears((body) => body.startsWith('once · ') && body.includes('user.already-deactivated'));

  const jobs = rows("SELECT id, state, origin FROM jobs WHERE command = 'user deactivate'");
  expect(jobs.map(({ state, origin }) => [state, (JSON.parse(String(origin)) as { standing: object }).standing])).toEqual([
    ['done', expect.objectContaining({ jobId: resultOf(prompt)?.job_id, by: ['bob'] })],
  ]);
  expect(recorded('standing.used').filter(({ targets }) => targets?.[0] === 'once')).toHaveLength(1);
  const told = await steward.alice.hears(
    (_body, event) => resultOf(event)?.job_id === jobs[0]?.['id'] && resultOf(event)?.outcome === 'done',
  );
  expect(bodyOf(told)).toContain('by the standing approval of bob');
  await steward.alice.ask('!schedule remove once');
});

test('who approved it takes it back with veto: a run after that is asked for, and ends with nobody’s word', async () => {
  const { name, isGone } = await victim();
  const prompt = await added(`!schedule add later "0 0 1 1 *" "user deactivate ${name}"`);
  const jobId = resultOf(prompt)?.job_id ?? '';
  const vetoed = await steward.carol.ask(`!veto ${jobId}`);
  expect(bodyOf(vetoed)).toContain('The standing approval is taken back');
  expect(recorded('standing.ended').at(-1)).toMatchObject({ actor: { person: 'carol' }, targets: ['later'], detail: { why: 'revoked' } });
  expect(bodyOf(await steward.alice.ask('!schedule list'))).toContain('each run is asked for');

  const ran = await steward.alice.say('!schedule run later');
  await steward.bob.react((await steward.alice.prompt(ran)).event_id, '✅');
  const asked = await askedFor('later');
  expect(bodyOf(asked)).toContain('its standing approval does not cover: it was taken back.');
  await steward.bob.react(asked.event_id, '❌');
  await steward.alice.hears((body) => body.startsWith('later · ') && body.includes('bob refused it'));
  expect(await isGone()).toBe(false);
  await steward.alice.ask('!schedule remove later');
});

test.each([
  [
    'the approver has no role any more',
    async () => {
      steward.configure({ people: people('bob') });
      await steward.alice.ask('!server reload');
    },
    /bob, who approved it, may not approve destructive commands of the group `user` any more/,
  ],
  [
    'its 90 days are over',
    () => {
      inStore((store) => store.prepare('UPDATE standing_approvals SET until = ? WHERE ended_at IS NULL').run(Date.now() - 1000));
      return Promise.resolve();
    },
    /its time ended \d{4}-/,
  ],
  [
    'the identity of the approver has changed',
    () => {
      const sql = "INSERT INTO identity_pins (user_id, identity, pinned_at, seen, seen_at) VALUES (?, 'first', 1, 'second', 2)";
      inStore((store) => store.prepare(sql).run(home.userId('bob')));
      return Promise.resolve();
    },
    /the cross-signing identity of bob, who approved it, has changed/,
  ],
] as const)('a run is not begun, but asked for, when %s', async (_case, change, words) => {
  const { name, isGone } = await victim();
  await added(`!schedule add bound "0 0 1 1 *" "user deactivate ${name}"`);
  await change();
  const ran = await steward.alice.say('!schedule run bound');
  const before = await steward.alice.prompt(ran);
  await steward.carol.react(before.event_id, '✅');
  const asked = await askedFor('bound', before);
  expect(bodyOf(asked)).toMatch(words);
  expect(await isGone()).toBe(false);
  await steward.carol.react(asked.event_id, '✅');
  await until(isGone, 10_000, 'carol lets it run');
  inStore((store) => store.exec('DELETE FROM identity_pins'));
  steward.configure({ people: people() });
  await steward.alice.ask('!server reload');
  await steward.alice.ask('!schedule remove bound');
});

test('what is catastrophic is never approved beforehand, and who may not approve the command approves no schedule of it', async () => {
  const refused = await steward.alice.ask('!schedule add never 02:30 "user update-password bob"');
  expect(resultOf(refused)).toMatchObject({ error_id: 'schedule.not-schedulable' });
  steward.configure({
    roles: { owner: { owner: true }, timekeeper: { request: { groups: ['schedule'] }, approve: { groups: ['schedule'] } } },
    people: { ...people(), bob: { user_ids: [home.userId('bob')], roles: ['timekeeper'] } },
  });
  await steward.alice.ask('!server reload');
  const { name } = await victim();
  const said = await steward.alice.say(`!schedule add narrow "0 0 1 1 *" "user deactivate ${name}"`);
  const prompt = await steward.alice.prompt(said);
  expect(bodyOf(prompt)).toContain('carol: react ✅');
  await steward.bob.react(prompt.event_id, '✅');
  const told = await steward.bob.answer(prompt.event_id);
  expect(bodyOf(told)).toContain('your role does not include approving destructive commands of the group `user`');
  await steward.carol.react(prompt.event_id, '❌');
  expect(resultOf(await steward.alice.answer(said))?.error_id).toBe('approval.vetoed');
  expect(rows('SELECT * FROM schedules')).toEqual([]);
  steward.configure({ people: people() });
  await steward.alice.ask('!server reload');
});
