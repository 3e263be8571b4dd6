import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import type { ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Something before the homeserver that refuses, with a page of its own: one message, every message, the refusal of an invitation. */

jest.setTimeout(120_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ proxied: true });
});

afterAll(() => home.dispose());

afterEach(() => {
  home.proxy.assertAllReached();
});

const page = { status: 403, body: '<html><head><title>403 Forbidden</title></head><body>The request was blocked.</body></html>' };
const always = Number.POSITIVE_INFINITY;

const isSend = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'PUT' && path.includes('/send/m.room.message/');

test('an answer that a proxy always refuses holds up nothing, and that it is lost is told', async () => {
  const refused = home.proxy.fault({
    name: 'one message is refused',
    match: (request) => isSend(request) && JSON.stringify(request.body).includes('user.exists'),
    times: always,
    action: page,
  });
  const lost = await steward.alice.say('!help error user.exists');
  await until(() => refused.hits > 0, 15_000, 'it is refused');

  expect(resultOf(await steward.bob.ask('!server version'))?.outcome).toBe('done');

  const [told, ...more] = await steward.alice.answers(lost);
  expect(more).toEqual([]);
  expect(told === undefined ? '' : bodyOf(told)).toBe(
    'Something before the homeserver refuses a message of mine (status 403); it is not sent.',
  );
  expect(refused.hits).toBe(3);
  refused.remove();
  expect(resultOf(await steward.alice.ask('!help error user.exists'))?.outcome).toBe('done');
});

test('where a proxy refuses every message none is lost: each is sent when it lets them through again', async () => {
  const refused = home.proxy.fault({ name: 'every message is refused', match: isSend, times: always, action: page });
  const first = await steward.alice.say('!help error user.exists');
  const second = await steward.bob.say('!server version');
  await until(() => refused.hits >= 8, 60_000, 'it has been tried again and again');
  refused.remove();

  for (const said of [first, second]) {
    expect(resultOf(await steward.alice.answer(said, 60_000))?.outcome).toBe('done');
    expect(await steward.alice.answers(said)).toHaveLength(1);
  }
});

test('an invitation that could not be declined is declined after a restart, and that is told once', async () => {
  const isLeave = ({ path }: Readonly<ProxiedRequest>): boolean => path.endsWith('/leave');
  const refused = home.proxy.fault({ name: 'it cannot be declined', match: isLeave, times: always, action: page });
  const elsewhere = await home.bob.client.createRoom({ invite: [steward.bot.userId] });
  await until(() => refused.hits > 0, 15_000, 'it was to be declined');
  await steward.kill();
  refused.remove();
  await steward.start();

  const told = await steward.alice.hears((body) => body.includes(elsewhere));

  expect(bodyOf(told)).toBe(`I was invited to ${elsewhere} by ${home.userId('bob')} and declined. I work in this room only.`);
  const member = await home.bob.client.request<{ membership: string }>(
    'GET',
    `/_matrix/client/v3/rooms/${encodeURIComponent(elsewhere)}/state/m.room.member/${encodeURIComponent(steward.bot.userId)}`,
  );
  expect(member.membership).toBe('leave');
  await steward.stop();
  await steward.start();
  await steward.alice.ask('!server version');
  expect((await steward.alice.history()).filter((event) => bodyOf(event).includes(elsewhere))).toHaveLength(1);
});
