import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { login, type RoomEvent } from '../../kit/client.ts';
import type { FaultAction, FaultHandle, ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import { relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook } from './support/webhook.ts';

/** Hearing from the room, losing it, and hearing again: degraded, never dead, and nothing is lost. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ proxied: true });
});

let fault: FaultHandle | undefined;

afterEach(() => {
  fault?.remove();
});

afterAll(() => home.dispose());

const sentinel = '!server version';
const page = '<html><body><h1>Sign in to the network</h1></body></html>';
const isSync = ({ path }: Readonly<ProxiedRequest>): boolean => path.startsWith('/_matrix/client/v3/sync');
const times = (text: string, part: string): number => text.split(part).length - 1;

test.each([
  ['500', { status: 500, body: { errcode: 'M_UNKNOWN', error: 'no' } }],
  ['a page with 502', { status: 502, body: page }],
  ['a page with 200', { status: 200, body: page }],
  ['an empty object', { status: 200, body: {} }],
  ['half of an answer', 'half'],
  ['a cut connection', 'reset'],
] as [string, FaultAction][])(
  'while /sync answers %s Steward is degraded, then connected again, and nothing is lost',
  async (_, action) => {
    const logBefore = steward.log.length;
    fault = home.proxy.fault({ name: 'sync', match: isSync, times: Infinity, action });
    const wakeSync = async (): Promise<boolean> => {
      await steward.alice.say('good morning');
      return (await steward.health('readyz')).status === 503;
    };
    await until(wakeSync, 10_000, '/readyz says 503');
    const said = await steward.alice.say('!user list carol');
    const { hits } = fault;
    await until(() => (fault?.hits ?? 0) > hits, 10_000, 'it tries again');
    expect((await steward.health('livez')).status).toBe(200);
    fault.remove();

    await steward.becomes(200);
    expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');

    expect(await steward.alice.answers(said)).toHaveLength(1);
    const log = steward.log.slice(logBefore);
    expect([times(log, '"degraded"'), times(log, '"connected again"')]).toEqual([1, 1]);
  },
);

test('429 on /sync is waited out as long as it asks', async () => {
  const limited = { status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', retry_after_ms: 1500 } };
  const seen = home.proxy.requests.length;
  home.proxy.fault({ name: 'limit', match: isSync, action: limited });
  await steward.alice.say('wakes the sync that is waiting');
  const said = await steward.alice.say('!user list carol');

  await steward.alice.answer(said);

  const [refused, next] = home.proxy.requests.slice(seen).filter(isSync);
  expect(refused?.status).toBe(429);
  expect((next?.at ?? 0) - (refused?.at ?? 0)).toBeGreaterThanOrEqual(1500);
});

test('Synapse stopped and started again: what was said before and after is answered once', async () => {
  const before = await steward.alice.say(sentinel);
  await steward.alice.answer(before);
  await home.synapse.stop();
  await steward.becomes(503);
  expect((await steward.health('livez')).status).toBe(200);
  expect(await steward.shell('server', 'status')).toMatchObject({ exit: 0, out: expect.stringContaining('does not answer') });
  expect(await steward.shell('user', 'list')).toMatchObject({
    exit: 4,
    out: '',
    err: expect.stringMatching(/^error: .+ \(homeserver\.unreachable\)\nhint: /),
  });
  await home.synapse.start();

  await steward.becomes(200);
  const after = await steward.alice.ask(sentinel);

  expect(resultOf(after)?.outcome).toBe('done');
  expect(await steward.alice.answers(before)).toHaveLength(1);
});

test('started while Synapse is down it is alive, and ready when Synapse is back', async () => {
  const early = await home.steward();
  await early.stop();
  const said = await early.alice.say('!user create patient');
  await home.synapse.stop();
  await early.start('alive');
  await sleep(500);
  expect((await early.health('readyz')).status).toBe(503);
  expect(await early.shell('help')).toMatchObject({ exit: 0 });
  await home.synapse.start();

  await early.becomes(200);

  expect(resultOf(await early.alice.answer(said))?.outcome).toBe('done');
  expect(await home.account('patient')).not.toBeNull();
  await early.stop();
});

test('a dead token degrades, is alerted off the homeserver once, and a new one with SIGHUP is enough', async () => {
  const hook = await openWebhook();
  const dying = await home.steward({ start: false });
  dying.putSecret('hook', hook.url);
  dying.configure({ alerts: { webhook: { url_file: 'secrets/hook' } } });
  await dying.start();

  await home.alice.client.request(
    'DELETE',
    `/_synapse/admin/v2/users/${encodeURIComponent(dying.bot.userId)}/devices/${dying.bot.deviceId}`,
  );
  await dying.becomes(503, 40_000);
  const said = await dying.alice.say('!user create revived');

  expect(dying.isRunning).toBe(true);
  expect((await dying.health('livez')).status).toBe(200);
  expect(await dying.shell('help')).toMatchObject({ exit: 0 });
  expect(await dying.shell('user', 'create', 'undead')).toMatchObject({
    exit: 1,
    out: '',
    err: expect.stringContaining('(homeserver.unknown-token)'),
  });
  await until(() => hook.alerts.length > 0, 5000, 'the alert arrives');
  const { accessToken } = await login(home.synapse.url, dying.bot.userId, dying.bot.password);
  dying.putToken(accessToken);
  dying.reload();
  await dying.becomes(200, 5000);

  expect(resultOf(await dying.alice.answer(said))?.outcome).toBe('done');
  expect(await home.account('revived')).not.toBeNull();
  expect(await home.account('undead')).toBeNull();
  await until(() => hook.alerts.length > 1, 10_000, 'the end of it arrives');
  expect(hook.alerts).toEqual([
    expect.objectContaining({
      alerts: ['room.unheard'],
      severity: 'critical',
      body: expect.stringMatching(/^.+ \(homeserver\.unknown-token\) \(room\.unheard\)\nnext: .+\npage: docs\/operations\.md#/),
    }),
    expect.objectContaining({ alerts: ['room.unheard'], severity: 'info' }),
  ]);
  await dying.stop();
  hook.close();
});

test('the token of another account is refused, and nothing is done with it', async () => {
  const wrong = await home.steward();
  await wrong.stop();
  const said = await wrong.alice.say('!user create impostor');
  wrong.putToken(home.bob.client.accessToken);
  await wrong.start('alive');
  await until(() => wrong.log.includes('the access token is of @bob:steward.test'), 10_000, 'it says whose the token is');
  await sleep(500);

  expect((await wrong.health('readyz')).status).toBe(503);
  expect(await wrong.alice.answers(said)).toEqual([]);
  expect(await home.account('impostor')).toBeNull();
  await wrong.stop();
});

test('in a room that becomes encrypted nothing more is run, and nothing is written in plain', async () => {
  const hushed = await home.steward({ proxied: true });
  await hushed.alice.hears((body) => body.startsWith('Hello'));
  // An answer that is ready only when the room is encrypted.
  const slow = home.proxy.fault({ name: 'slow', match: ({ path }) => path.includes('name=hush'), action: { delay: 1500 } });
  await hushed.alice.say('!user list hush');
  await until(() => slow.hits === 1, 5000, 'the list is asked for');
  await home.alice.client.setState(hushed.roomId, 'm.room.encryption', { algorithm: 'm.megolm.v1.aes-sha2' });
  const encrypted = (await hushed.alice.history()).findIndex((event) => event.type === 'm.room.encryption');
  const plain = await hushed.alice.say('!user create plain');

  const isLock = (event: RoomEvent): boolean => event.type === 'm.reaction' && relationOf(event)['event_id'] === plain;
  expect(relationOf(await home.alice.timeline.waitFor(isLock))['key']).toBe('🔒');
  await hushed.stop();
  await hushed.start();

  expect(await home.account('plain')).toBeNull();
  const heard = async (): Promise<RoomEvent[]> =>
    (await hushed.alice.history()).slice(encrypted).filter((event) => event.sender === hushed.bot.userId);
  const count = async (): Promise<number> => (await heard()).filter((event) => event.type === 'm.room.encrypted').length;
  await until(async () => (await count()) > 1, 15_000, 'both answers have come, encrypted');
  const said = await heard();
  expect(said.filter((event) => event.type === 'm.room.message')).toEqual([]);
  await hushed.stop();
});

test('put out of its room it is not ready, and it is again when it is let in', async () => {
  const outcast = await home.steward();
  await home.alice.client.request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(outcast.roomId)}/kick`, {
    user_id: outcast.bot.userId,
  });

  await outcast.becomes(503, 10_000);
  await home.alice.client.invite(outcast.roomId, outcast.bot.userId);
  outcast.reload();
  await outcast.becomes(200, 10_000);

  expect(resultOf(await outcast.alice.ask(sentinel))?.outcome).toBe('done');
  await outcast.stop();
});
