import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { openClient, type MatrixClient } from '../../kit/client.ts';
import type { ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** What the homeserver goes on with after its answer: redacting all that an account has said. */

jest.setTimeout(120_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ proxied: true });
});

afterAll(() => home.dispose());

const isBegin = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'POST' && path.endsWith('/redact');
const isLook = ({ path }: Readonly<ProxiedRequest>): boolean => path.includes('/redact_status/');
const begun = (from = 0): number => home.proxy.requests.slice(from).filter(isBegin).length;

/** An account, and what it has said in a room of alice's. */
async function talker(localpart: string, messages: number): Promise<{ client: MatrixClient; userId: string; roomId: string }> {
  const account = await home.register(localpart);
  const client = openClient({ ...account, url: home.synapse.url });
  const roomId = await home.alice.client.createRoom({ preset: 'private_chat', invite: [client.userId] });
  await client.join(roomId);
  for (let n = 0; n < messages; n += 1) await client.send(roomId, `spam ${n}`);
  return { client, userId: client.userId, roomId };
}

/** What alice reads of an account in a room. */
async function said(roomId: string, userId: string): Promise<unknown[]> {
  const events = await home.alice.client.messages(roomId, 1000);
  return events.filter(({ type, sender }) => type === 'm.room.message' && sender === userId).map(({ content }) => content['body'] ?? null);
}

async function approved(line: string): Promise<string> {
  const asked = await steward.alice.say(line);
  await steward.bob.react((await steward.alice.prompt(asked)).event_id, '✅');
  return asked;
}

test('all that somebody has said is gone where they are and where they were; what they said to the admins stays', async () => {
  const { client } = home.carol;
  const { userId } = client;
  const room = async (): Promise<string> => {
    const roomId = await home.alice.client.createRoom({ preset: 'private_chat', invite: [userId] });
    await client.join(roomId);
    return roomId;
  };
  const [here, left] = [await room(), await room()];
  for (const roomId of [here, left, steward.roomId]) await client.send(roomId, 'spam');
  await client.leave(left);

  const dry = home.proxy.requests.length;
  expect(bodyOf(await steward.alice.ask('!user redact carol --dry-run'))).toContain('in 2 rooms');
  expect(home.proxy.requests.slice(dry).filter(({ method }) => method === 'POST')).toEqual([]);
  expect(await said(here, userId)).toEqual(['spam']);
  const answer = await steward.alice.answer(await approved('!user redact carol --reason "no advertising"'), 60_000);

  expect(resultOf(answer)?.outcome).toBe('done');
  expect(bodyOf(answer)).toContain(`Redacted the messages of ${userId} in 2 rooms.`);
  expect(await said(here, userId)).toEqual([null]);
  expect(await said(left, userId)).toEqual([null]);
  expect(await said(steward.roomId, userId)).toEqual(['spam']);
});

test('killed while Synapse is at it, Steward goes on waiting and tells the end, and begins nothing twice', async () => {
  const { userId, roomId } = await talker('flooder', 250);
  const from = home.proxy.requests.length;
  const asked = await approved('!user redact flooder');
  await until(() => home.proxy.requests.slice(from).some(isLook), 15_000, 'it has begun');
  await steward.kill();
  expect((await said(roomId, userId)).filter((body) => body !== null).length).toBeGreaterThan(0);
  const looked = home.proxy.requests.length;

  await steward.start();

  // What else is asked is answered meanwhile.
  expect(resultOf(await steward.bob.ask('!server version'))?.outcome).toBe('done');
  const answer = await steward.alice.answer(asked, 60_000);
  expect(bodyOf(answer)).toContain(`Redacted the messages of ${userId} in 1 room.`);
  expect((await said(roomId, userId)).filter((body) => body !== null)).toEqual([]);
  expect(begun(from)).toBe(1);
  expect(home.proxy.requests.slice(looked).some(isLook)).toBe(true);
  expect((await steward.alice.answers(asked)).filter((event) => resultOf(event)?.outcome === 'done')).toHaveLength(1);
});

test('stopped while Synapse is at it, Steward goes at once, and the next start waits on', async () => {
  const { userId, roomId } = await talker('shouter', 2);
  const from = home.proxy.requests.length;
  const atIt = home.proxy.fault({
    name: 'Synapse is at it',
    match: isLook,
    times: Infinity,
    action: { status: 200, body: { status: 'active' } },
  });
  const asked = await approved('!user redact shouter');
  await until(() => atIt.hits > 2, 15_000, 'it is waited for');
  const began = Date.now();
  await steward.stop();
  expect(Date.now() - began).toBeLessThan(8000);
  atIt.remove();

  await steward.start();

  expect(bodyOf(await steward.alice.answer(asked, 60_000))).toContain(`Redacted the messages of ${userId} in 1 room.`);
  expect(begun(from)).toBe(1);
  expect(await said(roomId, userId)).toEqual([null, null]);
});

test('an outage while Synapse is at it ends nothing: what it is at is told once it answers again', async () => {
  const { userId, roomId } = await talker('ranter', 250);
  const from = home.proxy.requests.length;
  const asked = await approved('!user redact ranter');
  await until(() => home.proxy.requests.slice(from).some(isLook), 15_000, 'it has begun');
  // What stands between loses Synapse, and answers 502 in HTML; a read is tried three times.
  home.proxy.target = 'http://127.0.0.1:9';
  const unanswered = (): number => home.proxy.requests.slice(from).filter((request) => isLook(request) && request.status === 502).length;
  await until(() => unanswered() > 6, 30_000, 'more is missed than the retries of a read');
  expect((await steward.alice.answers(asked)).filter((event) => resultOf(event)?.outcome !== 'waiting')).toEqual([]);
  home.proxy.target = home.synapse.url;

  const answer = await steward.alice.answer(asked, 60_000);

  expect(bodyOf(answer)).toContain(`Redacted the messages of ${userId} in 1 room.`);
  expect((await said(roomId, userId)).filter((body) => body !== null)).toEqual([]);
  expect(begun(from)).toBe(1);
  expect((await steward.alice.answers(asked)).filter((event) => resultOf(event)?.outcome === 'done')).toHaveLength(1);
});

test('killed before it is known whether Synapse has begun, that is said, and nothing is done again', async () => {
  const { userId, roomId } = await talker('unheard', 2);
  const silent = home.proxy.fault({ name: 'the answer is on its way', match: isBegin, action: 'hang' });
  const from = home.proxy.requests.length;
  const asked = await approved('!user redact unheard');
  await until(() => silent.hits > 0, 15_000, 'it was asked for');
  await steward.kill();

  await steward.start();

  expect(resultOf(await steward.alice.answer(asked, 30_000))).toMatchObject({ error_id: 'job.unknown' });
  expect(begun(from)).toBe(1);
  expect(await said(roomId, userId)).toEqual(['spam 0', 'spam 1']);
});

test.each([
  ['answers for Synapse', isBegin, { drop: {} }, 'homeserver.bad-answer'],
  ['is older', isBegin, { status: 404, body: { errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request' } }, 'homeserver.no-endpoint'],
  ['has failed', isLook, { drop: { status: 'failed', error: 'a room is not known' } }, 'homeserver.not-done'],
  [
    'has forgotten it',
    isLook,
    { status: 404, body: { errcode: 'M_NOT_FOUND', error: 'redact id not found' } },
    'homeserver.outcome-unknown',
  ],
])('where the homeserver %s nothing is called done', async (what, match, action, errorId) => {
  const name = `lie${what.length}`;
  await talker(name, 1);
  home.proxy.fault({ name: what, match, action });

  const answer = await steward.alice.answer(await approved(`!user redact ${name}`), 30_000);

  expect(resultOf(answer)).toMatchObject({ error_id: errorId });
});
