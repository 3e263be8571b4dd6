import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultAction, ProxiedRequest } from '../../kit/proxy.ts';
import { connect } from '../../src/terminal/socket-client.ts';
import { Homeserver } from './support/homeserver.ts';
import { answeredBy, bodyOf, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** A proxy between Steward and Synapse that fails in every way. What is true is asked of Synapse itself. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  // The shell answers for itself where there is one person.
  steward = await home.steward({ proxied: true, config: { approval: { mode: 'single' } } });
});

afterAll(() => home.dispose());

afterEach(async () => {
  home.proxy.assertAllReached();
  expect(resultOf(await steward.bob.ask('!server version'))?.outcome).toBe('done');
});

interface Ended {
  outcome: string | undefined;
  error: string | undefined;
}

/** The command in the room, without waiting for ✅. */
async function inRoom(line: string): Promise<Ended> {
  const result = resultOf(await steward.alice.ask(`${line} -y`));
  return { outcome: result?.outcome, error: result?.error_id };
}

/** The command in the shell, with what must be typed there. */
async function inShell(line: string): Promise<Ended> {
  const session = await connect(join(steward.dataDir, 'steward.sock'));
  if (session === null) throw new Error('no daemon listens');
  const ended: Ended = { outcome: undefined, error: undefined };
  for await (const message of session.run({ words: line.slice(1).split(' '), items: null, secrets: {} })) {
    if (message.type === 'prompt') expect(await session.decide(message.jobId, true)).toBe(true);
    if (message.type === 'reply') Object.assign(ended, { outcome: message.outcome, error: message.errorId });
  }
  return ended;
}

const isWrite = ({ method, path }: Readonly<ProxiedRequest>): boolean => method !== 'GET' && path.startsWith('/_synapse/admin/');

interface Write {
  name: string;
  run: (name: string) => Promise<Ended>;
  /** Makes what must be there. */
  before: (name: string) => Promise<void>;
  /** Whether the effect is there, seen past the proxy. */
  isDone: (name: string) => Promise<boolean>;
}

const writes: Write[] = [
  {
    name: 'user create',
    before: () => Promise.resolve(),
    run: (name) => inRoom(`!user create ${name}`),
    isDone: async (name) => (await home.account(name)) !== null,
  },
  {
    name: 'user update-password',
    before: async (name) => {
      expect(await inRoom(`!user create ${name}`)).toEqual({ outcome: 'done', error: undefined });
      before.set(name, steward.password(name));
    },
    run: (name) => inRoom(`!user update-password ${name}`),
    isDone: async (name) => !(await home.logsIn(name, before.get(name) ?? '')),
  },
  {
    name: 'user deactivate',
    before: async (name) => {
      await home.register(name);
    },
    run: (name) => inShell(`!user deactivate ${name}`),
    isDone: async (name) => (await home.account(name))?.deactivated === true,
  },
  {
    name: 'user reactivate',
    before: async (name) => {
      await home.register(name);
      await home.deactivate(name);
    },
    run: (name) => inRoom(`!user reactivate ${name}`),
    isDone: async (name) => (await home.account(name))?.deactivated === false,
  },
];

/** The password on the host before the command, by account. */
const before = new Map<string, string | null>();

const limited = { errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', retry_after_ms: 300 };
const wait: FaultAction = { status: 429, body: limited };
const page = '<html><body><h1>Sign in to the network</h1></body></html>';

interface Fault {
  name: string;
  action: FaultAction;
  outcome: Ended;
  /** Whether the server has done it. */
  done: boolean;
}

const done: Ended = { outcome: 'done', error: undefined };
const unknown: Ended = { outcome: 'unknown', error: 'homeserver.outcome-unknown' };

const faults: Fault[] = [
  { name: '429 that asks to wait a moment', action: wait, outcome: done, done: true },
  {
    name: '429 that asks to wait a minute',
    action: { status: 429, body: limited, headers: { 'retry-after': '60' } },
    outcome: { outcome: 'unreachable', error: 'homeserver.rate-limited' },
    done: false,
  },
  { name: '502 with a page', action: { status: 502, body: page }, outcome: unknown, done: false },
  { name: '200 with a page', action: { status: 200, body: page }, outcome: unknown, done: false },
  { name: 'half of the answer', action: 'half', outcome: done, done: true },
  { name: 'a connection cut before the write', action: 'reset', outcome: unknown, done: false },
  { name: 'a connection cut after the write', action: 'forward-then-reset', outcome: done, done: true },
  { name: '200 with the write dropped', action: { drop: {} }, outcome: { outcome: 'failed', error: 'homeserver.not-done' }, done: false },
];

describe.each(writes)('$name', (write) => {
  test.each(faults.map((fault, n) => ({ ...fault, n })))('is told as it is after $name', async ({ action, outcome, done: isDone, n }) => {
    const name = `${write.name.replace(/\W/g, '')}${n}`;
    await write.before(name);
    const asked = home.proxy.requests.length;
    home.proxy.fault({ name: `${write.name} ${n}`, match: isWrite, action });

    expect(await write.run(name)).toEqual(outcome);

    expect(await write.isDone(name)).toBe(isDone);
    const [first, second, ...more] = home.proxy.requests
      .slice(asked)
      .filter(isWrite)
      .map(({ at }) => at);
    expect(more).toEqual([]);
    if (action === wait) expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(limited.retry_after_ms);
    else expect(second).toBeUndefined();
    if (write.name === 'user deactivate') return;
    const kept = steward.password(name);
    if (isDone) expect(await home.logsIn(name, kept ?? '')).toBe(true);
    // What may yet be done keeps its password, what surely was not done leaves none, and what was there before comes back.
    else if (outcome === unknown) expect(kept).toEqual(expect.any(String));
    else expect(kept).toBe(before.get(name) ?? null);
  });
});

test('a change that cannot be looked at afterwards is not called done, nor undone', async () => {
  let written = false;
  const fault = home.proxy.fault({
    name: 'no reading after the write',
    match: (request) => (written ||= isWrite(request)) && request.method === 'GET' && request.path.startsWith('/_synapse/admin/'),
    times: 3,
    action: { status: 503, body: page },
  });

  expect(await inRoom('!user create unseen')).toEqual(unknown);

  expect(fault.hits).toBe(3);
  expect(await home.logsIn('unseen', steward.password('unseen') ?? '')).toBe(true);
});

test('a write that hangs holds nobody up, and after a kill it is said that it was not done', async () => {
  home.proxy.fault({ name: 'a hanging write', match: isWrite, action: 'hang' });
  const hanging = await steward.alice.say('!user create hanging');
  await until(() => home.proxy.requests.findLast(isWrite)?.path.includes('hanging'), 5000, 'the write is under way');

  expect(resultOf(await steward.bob.ask('!user create free'))?.outcome).toBe('done');
  expect(resultOf(await steward.alice.ask('!user list'))?.outcome).toBe('done');
  await steward.kill();
  await steward.start();

  expect(resultOf(await steward.alice.answer(hanging))).toMatchObject({ outcome: 'failed', error_id: 'job.interrupted' });
  expect(await home.account('hanging')).toBeNull();
  expect(steward.password('hanging')).toBeNull();
});

test.each([
  ['a page', { status: 200, body: page }, 'homeserver.bad-answer'],
  ['JSON of another form', { status: 200, body: { users: 'none' } }, 'homeserver.bad-answer'],
  ['a list', { status: 200, body: [] }, 'homeserver.bad-answer'],
  ['half of the answer', 'half', 'homeserver.bad-answer'],
  ['503', { status: 503, body: page }, 'homeserver.unreachable'],
] as [string, FaultAction, string][])(
  'where the homeserver answers %s, one command fails and the next of the same batch is answered',
  async (_, action, error) => {
    const fault = home.proxy.fault({
      name: 'nonsense',
      match: ({ path }) => path.startsWith('/_synapse/admin/v3/users') && path.includes('name=nonsense'),
      times: 3,
      action,
    });
    const [first, second] = await Promise.all([steward.alice.say('!user list nonsense'), steward.alice.say('!user list carol')]);

    expect(resultOf(await steward.alice.answer(first))?.error_id).toBe(error);
    expect(bodyOf(await steward.alice.answer(first))).toMatch(/^error: cannot .+ \(homeserver\.[a-z-]+\)\nhint: /);
    expect(bodyOf(await steward.alice.answer(second))).toContain('@carol:steward.test');
    fault.remove();
  },
);

describe('an answer', () => {
  const isMessage = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'PUT' && path.includes('/send/m.room.message/');

  test.each([
    ['502', { status: 502, body: page }],
    ['429', wait],
    ['a page', { status: 200, body: page }],
    ['half of an answer', 'half'],
    ['a connection cut before', 'reset'],
    ['a connection cut after', 'forward-then-reset'],
    ['an empty answer', { status: 200, body: {} }],
  ] as [string, FaultAction][])('arrives once over %s', async (_, action) => {
    home.proxy.fault({ name: 'sending', match: isMessage, times: 2, action });
    const said = await steward.alice.say('!user list carol');

    await steward.alice.answer(said);
    await steward.alice.ask('!server version');

    expect(await steward.alice.answers(said)).toHaveLength(1);
  });

  test('that the homeserver refuses does not hold up the next', async () => {
    home.proxy.fault({ name: 'refused', match: isMessage, action: { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'no' } } });
    const lost = await steward.alice.say('!user list carol');

    expect(resultOf(await steward.alice.ask('!server version'))?.outcome).toBe('done');
    expect(await steward.alice.answers(lost)).toEqual([]);
  });
});

describe('a file for the room', () => {
  const isUpload = ({ path }: Readonly<ProxiedRequest>): boolean => path.startsWith('/_matrix/media/v3/upload');

  test('arrives once when the homeserver takes it only later', async () => {
    home.proxy.fault({ name: 'upload', match: isUpload, times: 2, action: { status: 500, body: page } });
    const said = await steward.alice.say('!user list carol --csv');

    await steward.alice.hears((_, event) => event.content['msgtype'] === 'm.file' && answeredBy(event) === said);
    await steward.alice.ask('!server version');

    expect((await steward.alice.answers(said)).filter((event) => event.content['msgtype'] === 'm.file')).toHaveLength(1);
    expect(readdirSync(join(steward.dataDir, 'exports'))).toEqual([]);
  });

  test('that is larger than the homeserver takes stays on the host, and its path is told', async () => {
    home.proxy.fault({ name: 'too large', match: isUpload, action: { status: 413, body: { errcode: 'M_TOO_LARGE', error: 'no' } } });
    const said = await steward.alice.say('!user list carol --csv');

    const told = await steward.alice.hears((body, event) => answeredBy(event) === said && body.includes('exports'));

    expect(readdirSync(join(steward.dataDir, 'exports'))).toEqual([expect.stringMatching(/-user-list\.csv$/)]);
    expect(bodyOf(told)).toContain(join(steward.dataDir, 'exports'));
    rmSync(join(steward.dataDir, 'exports'), { recursive: true });
  });

  test('that somebody took away from the host holds up nothing', async () => {
    const fault = home.proxy.fault({ name: 'gone', match: isUpload, times: Infinity, action: { status: 500, body: page } });
    const said = await steward.alice.say('!user list carol --csv');
    await until(() => fault.hits > 0, 5000, 'the upload is under way');
    rmSync(join(steward.dataDir, 'exports'), { recursive: true });
    fault.remove();

    expect(resultOf(await steward.alice.ask('!server version'))?.outcome).toBe('done');
    expect((await steward.alice.answers(said)).filter((event) => event.content['msgtype'] === 'm.file')).toEqual([]);
  });
});

test('Synapse killed under a write and started again: the answer comes, and it is true', async () => {
  home.proxy.fault({ name: 'slow', match: isWrite, action: { delay: 700 } });
  const said = await steward.alice.say('!user create cutoff');
  await until(() => home.proxy.requests.findLast(isWrite)?.path.includes('cutoff'), 5000, 'the write is under way');
  await home.synapse.kill();
  await sleep(2500);
  await home.synapse.start();

  expect(resultOf(await steward.alice.answer(said, 30_000))).toMatchObject({ outcome: 'unknown', error_id: 'homeserver.outcome-unknown' });
  expect(await home.account('cutoff')).toBeNull();
  expect(await steward.alice.answers(said)).toHaveLength(1);
  const marks = async (): Promise<unknown[]> =>
    (await steward.alice.history()).filter((event) => relationOf(event)['event_id'] === said).map((event) => relationOf(event)['key']);
  await until(async () => (await marks()).join() === '❌', 5000, 'the command is marked, and the hourglass is gone');
});
