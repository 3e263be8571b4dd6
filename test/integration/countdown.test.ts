import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { openClient, type RoomEvent } from '../../kit/client.ts';
import type { ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** What happens to the room while a catastrophic command counts down. Whether it ran is seen by another admin. */

jest.setTimeout(90_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

const countdown = 4000;

/** A Steward whose countdown is short, and which has `execution` to begin what was approved. */
async function open(execution: string): Promise<Steward> {
  return home.steward({
    proxied: true,
    config: { approval: { catastrophic_in_plain_room: true, countdown: `${countdown / 1000}s`, execution } },
  });
}

interface Counting {
  /** The event of the command. */
  said: string;
  /** The message that counts down. */
  message: RoomEvent;
  isDone: () => Promise<boolean>;
}

/** alice asks for a new server admin, bob types the code, and the countdown has begun. */
async function counting(steward: Steward, name: string): Promise<Counting> {
  const said = await steward.alice.say(`!user create ${name} --admin`);
  const code = /!approve (\S+)/.exec(bodyOf(await steward.alice.prompt(said)))?.[1] ?? '';
  await steward.bob.say(`!approve ${code}`);
  const message = await steward.alice.hears((body) => body.includes('runs in') && body.includes(name));
  return { said, message, isDone: async () => (await home.account(name)) !== null };
}

const ended = (steward: Steward, event: string): boolean => steward.audit().some(({ record }) => record.event === event);

test.each([
  ['!veto', async (steward: Steward, job: string) => steward.bob.say(`!veto ${job}`)],
  ['❌', async (steward: Steward, _job: string, message: string) => steward.bob.react(message, '❌')],
])('it is stopped by %s of one whose last command is still under way', async (sign, refuse) => {
  const steward = await open('5m');
  const { said, message, isDone } = await counting(steward, `refused-${sign.length}`);
  const isSlow = ({ path }: Readonly<ProxiedRequest>): boolean => path.includes('name=slow');
  const slow = home.proxy.fault({ name: `${sign} behind a slow command`, match: isSlow, action: 'hang' });
  await steward.bob.say('!user list slow');
  await until(() => slow.hits > 0, 15_000, 'the slow command is under way');

  await refuse(steward, resultOf(message)?.job_id ?? '', message.event_id);

  expect(resultOf(await steward.alice.answer(said, 30_000))).toMatchObject({ error_id: 'approval.vetoed' });
  expect(await isDone()).toBe(false);
  await steward.kill();
});

test('a ❌ on the countdown before the one that runs stops it too; a ✅ there means nothing', async () => {
  const steward = await open('5m');
  const said = await steward.alice.say('!user create twice --admin');
  const prompt = await steward.alice.prompt(said);
  const code = /!approve (\S+)/.exec(bodyOf(prompt))?.[1] ?? '';
  const first = await steward.bob.say(`!approve ${code}`);
  const before = await steward.alice.hears((body) => body.includes('runs in') && body.includes('twice'));
  await steward.bob.client.redact(steward.roomId, first);
  await steward.alice.hears((body) => body.includes('An approval was taken back'));
  await steward.bob.react(before.event_id, '✅');
  await steward.bob.ask('!server version');
  expect(ended(steward, 'job.started')).toBe(false);

  await steward.bob.say(`!approve ${code}`);
  await steward.alice.hears((body, event) => body.includes('runs in') && body.includes('twice') && event.event_id !== before.event_id);
  await steward.bob.react(before.event_id, '❌');

  expect(resultOf(await steward.alice.answer(said, 30_000))).toMatchObject({ error_id: 'approval.vetoed' });
  expect(await home.account('twice')).toBeNull();
  await steward.kill();
});

test('when the bot is put out of the room it does not run', async () => {
  const steward = await open('2s');
  const { isDone } = await counting(steward, 'unheard1');

  await home.alice.client.request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/kick`, {
    user_id: steward.bot.userId,
  });

  await until(() => ended(steward, 'job.expired'), 30_000, 'it is given up');
  expect(await isDone()).toBe(false);
  expect(ended(steward, 'job.started')).toBe(false);
  await steward.stop();
});

test('when the room is not heard for a while, the whole of it begins again', async () => {
  const steward = await open('5m');
  const isSync = ({ path }: Readonly<ProxiedRequest>): boolean => path.includes('/sync?');
  const { said, isDone } = await counting(steward, 'unheard2');
  const fault = home.proxy.fault({ name: 'nothing is heard', match: isSync, times: Number.POSITIVE_INFINITY, action: 'reset' });
  // Ends the sync that is open.
  await steward.bob.say('anybody there?');
  await until(async () => (await steward.health('readyz')).status === 503, 15_000, 'nothing is heard');
  const deaf = Date.now();
  await until(() => Date.now() - deaf > 2 * countdown, 15_000, 'the countdown would be over');
  expect(await isDone()).toBe(false);
  fault.remove();
  const heard = Date.now();

  expect(resultOf(await steward.alice.answer(said, 60_000))?.outcome).toBe('done');

  expect(await isDone()).toBe(true);
  const run = home.proxy.requests.find(({ method, path }) => method === 'PUT' && path.includes('unheard2'));
  expect((run?.at ?? 0) - heard).toBeGreaterThanOrEqual(countdown);
  expect((await steward.alice.answers(said)).filter((event) => resultOf(event)?.outcome !== 'waiting')).toHaveLength(1);
  await steward.stop();
});

test('when a stranger comes into the room it does not run', async () => {
  const steward = await open('5m');
  const stranger = openClient({ ...(await home.register('stranger')), url: home.synapse.url });
  const { said, isDone } = await counting(steward, 'unheard3');

  await home.alice.client.invite(steward.roomId, stranger.userId);
  await stranger.join(steward.roomId);

  const answer = await steward.alice.answer(said, 30_000);
  expect(resultOf(answer)).toMatchObject({ outcome: 'refused', error_id: 'access.plan-changed' });
  expect(bodyOf(answer)).toContain('Steward is locked');
  expect(await isDone()).toBe(false);
  expect(ended(steward, 'job.started')).toBe(false);
  await steward.stop();
});
