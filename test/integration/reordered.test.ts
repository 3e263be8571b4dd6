import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import type { RoomEvent } from '../../kit/client.ts';
import type { FaultHandle, ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Events that come in another order than they were sent in, late, twice, or while Steward is busy. What was done is asked of Synapse itself. */

jest.setTimeout(90_000);

let home: Homeserver;
let steward: Steward;
let made = 0;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ proxied: true });
});

afterAll(() => home.dispose());

afterEach(() => {
  home.proxy.assertAllReached();
});

const sentinel = '!server version';

const isSync = ({ path }: Readonly<ProxiedRequest>): boolean => path.includes('/sync?');

/** The part of a sync answer that is changed here. */
interface Answer {
  rooms?: { join?: Record<string, { timeline?: { events: RoomEvent[] } }> };
}

/** Changes the timeline of the admin room in every sync answer. */
function rewriteTimeline(name: string, change: (events: RoomEvent[]) => RoomEvent[]): FaultHandle {
  const rewrite = (answer: unknown): unknown => {
    const timeline = (answer as Answer).rooms?.join?.[steward.roomId]?.timeline;
    if (timeline !== undefined) timeline.events = change(timeline.events);
    return answer;
  };
  return home.proxy.fault({ name, match: isSync, times: Number.POSITIVE_INFINITY, action: { rewrite } });
}

/** Leaves an event out of the timeline until another one has come, and gives it then as it was: before the other, or after it. */
function late(name: string, isLate: (event: RoomEvent) => boolean, until: (event: RoomEvent) => boolean): FaultHandle {
  let kept: RoomEvent | null = null;
  return rewriteTimeline(name, (events) => {
    kept = events.find(isLate) ?? kept;
    const others = events.filter((event) => !isLate(event));
    if (kept === null || !others.some(until)) return others;
    const all = [...others, kept];
    kept = null;
    return all;
  });
}

interface Asked {
  said: string;
  prompt: RoomEvent;
  isGone: () => Promise<boolean>;
}

/** alice asks to deactivate a new account. */
async function asked(): Promise<Asked> {
  made += 1;
  const name = `victim${made}`;
  await home.register(name);
  const said = await steward.alice.say(`!user deactivate ${name}`);
  return { said, prompt: await steward.alice.prompt(said), isGone: async () => (await home.account(name))?.deactivated === true };
}

/** When everything that was said so far has been handled, and what was approved has run. */
async function settled(): Promise<void> {
  for (const seat of [steward.alice, steward.bob]) await seat.ask(sentinel);
}

/** The request still waits, and a new ✅ runs it. */
async function expectWaiting({ said, prompt, isGone }: Asked): Promise<void> {
  expect(await isGone()).toBe(false);
  expect(await steward.alice.answers(said)).toHaveLength(1);
  await steward.bob.react(prompt.event_id, '✅');
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(await isGone()).toBe(true);
}

test('an approval that is taken back while Steward is busy with its sender never counts', async () => {
  const request = await asked();
  let free = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    free = resolve;
  });
  const isSlow = ({ path }: Readonly<ProxiedRequest>): boolean => path.includes('name=slow');
  home.proxy.fault({ name: 'a slow command', match: isSlow, action: { hold: held } });
  const slow = await steward.bob.say('!user list slow');
  await until(() => home.proxy.requests.some(isSlow), 5000, 'the slow command is under way');

  const approval = await steward.bob.react(request.prompt.event_id, '✅');
  await steward.bob.client.redact(steward.roomId, approval);
  await steward.alice.ask(sentinel);
  free();

  await steward.bob.answer(slow);
  await settled();
  await expectWaiting(request);
});

test('an approval that comes after its removal never counts', async () => {
  const request = await asked();
  const fault = late(
    'the reaction comes last',
    (event) => event.type === 'm.reaction' && event.sender === home.userId('bob'),
    (event) => event.type === 'm.room.redaction',
  );

  const approval = await steward.bob.react(request.prompt.event_id, '✅');
  await steward.alice.ask(sentinel);
  await steward.bob.client.redact(steward.roomId, approval);

  await settled();
  fault.remove();
  await settled();
  await expectWaiting(request);
});

test('a command that comes after its removal is not run', async () => {
  const isCreate = (event: RoomEvent): boolean => bodyOf(event) === '!user create removed';
  const fault = late('the command comes last', isCreate, (event) => event.type === 'm.room.redaction');

  const said = await steward.alice.say('!user create removed');
  await steward.bob.ask(sentinel);
  await steward.alice.client.redact(steward.roomId, said);

  await settled();
  fault.remove();
  expect(await home.account('removed')).toBeNull();
  expect(await steward.alice.answers(said)).toEqual([]);
});

test('an approval counts that comes before the homeserver has answered the sending of its prompt', async () => {
  let free = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    free = resolve;
  });
  const isPrompt = ({ method, path, body }: Readonly<ProxiedRequest>): boolean =>
    method === 'PUT' && path.includes('/send/m.room.message/') && JSON.stringify(body).includes('Approval needed');
  home.proxy.fault({ name: 'the answer to the prompt is late', match: isPrompt, action: { hold: held } });
  const { said, prompt, isGone } = await asked();

  await steward.bob.react(prompt.event_id, '✅');
  const busy = await steward.alice.say(sentinel);
  expect(await isGone()).toBe(false);
  free();

  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(await isGone()).toBe(true);
  await steward.alice.answer(busy);
});

test('an edit that comes before its command is not run, and the command is run as it was', async () => {
  const isCommand = (event: RoomEvent): boolean => bodyOf(event) === '!user create first-words';
  const isEdit = (event: RoomEvent): boolean => bodyOf(event).startsWith('* ');
  const fault = late('the edit comes first', isCommand, isEdit);

  const said = await steward.alice.say('!user create first-words');
  const edit = await steward.alice.say('* !user create last-words', {
    'm.new_content': { msgtype: 'm.text', body: '!user create last-words' },
    'm.relates_to': { rel_type: 'm.replace', event_id: said },
  });

  expect(resultOf(await steward.alice.answer(edit))?.outcome).toBe('refused');
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  fault.remove();
  expect(await home.account('first-words')).not.toBeNull();
  expect(await home.account('last-words')).toBeNull();
});

test('requests, approvals and removals that come twice are taken once', async () => {
  const all: RoomEvent[] = [];
  const fault = rewriteTimeline('everything twice, turned round, and once more with what follows', (events) => {
    all.push(...events);
    return [...all].reverse().concat(events);
  });
  const request = await asked();

  const approval = await steward.bob.react(request.prompt.event_id, '✅');
  expect(resultOf(await steward.alice.answer(request.said))?.outcome).toBe('done');
  await steward.bob.client.redact(steward.roomId, approval);
  const created = await steward.alice.say('!user create only-once');
  await steward.alice.answer(created);
  await settled();

  fault.remove();
  expect((await steward.alice.answers(request.said)).map((event) => resultOf(event)?.outcome)).toEqual(['waiting', 'done', 'refused']);
  expect((await steward.alice.answers(created)).map((event) => resultOf(event)?.outcome)).toEqual(['done']);
  expect((await steward.alice.history()).filter((event) => bodyOf(event).startsWith('Too late to take'))).toHaveLength(1);
});
