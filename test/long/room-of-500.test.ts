import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { Homeserver } from '../integration/support/homeserver.ts';
import { bodyOf } from '../integration/support/seat.ts';

/** An admin room with very many members: making them takes minutes, and what Steward does with them must not. */

jest.setTimeout(600_000);

const members = 500;

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

test('a room of 500 members: Steward starts, encrypts and checks it without a request for each', async () => {
  const steward = await home.steward({
    proxied: true,
    encrypted: true,
    start: false,
    room: { expect: { members: [home.userId('carol'), home.userId('member*')] } },
  });
  const join = `/_synapse/admin/v1/join/${encodeURIComponent(steward.roomId)}`;
  const make = async (from: number): Promise<void> => {
    for (let n = from; n < members; n += 4) {
      const { userId } = await home.synapse.register({ localpart: `member${n}` });
      await home.alice.client.request('POST', join, { user_id: userId });
    }
  };
  await Promise.all([0, 1, 2, 3].map(make));
  const before = home.proxy.requests.length;
  const begin = performance.now();
  await steward.start();
  await steward.alice.ask('!help');
  const took = performance.now() - begin;
  const atStart = home.proxy.requests.slice(before);
  const checked = await steward.alice.ask('!server room check');
  const forCheck = home.proxy.requests.slice(before + atStart.length);

  expect(bodyOf(checked)).toContain('is as it should be');
  // 42 and 8 were seen, most of them the descriptions of commands; the whole in 11 s beside other tests.
  expect(atStart.length).toBeLessThan(100);
  expect(forCheck.length).toBeLessThan(30);
  expect(took).toBeLessThan(60_000);
  expect([...atStart, ...forCheck].filter(({ path }) => /(?:@|%40)member\d/.test(path))).toEqual([]);
  const sent = home.rows(
    'SELECT type, count(*) AS n FROM events WHERE sender = ? AND type LIKE ? GROUP BY type',
    steward.bot.userId,
    'm.room.%e%',
  );
  expect(sent.map(({ type }) => type)).toContain('m.room.encrypted');
  expect(sent.map(({ type }) => type)).not.toContain('m.room.message');
  await steward.stop();
});
