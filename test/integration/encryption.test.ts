import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** An encrypted admin room: matrix-js-sdk peers with "exclude insecure devices" on, a real Synapse. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ encrypted: true, proxied: true });
});

afterAll(() => home.dispose());

test('a command is answered so that a client which excludes insecure devices can read it, and nobody else', async () => {
  const answer = await steward.alice.ask('!help');

  expect(answer.encrypted).toBe(true);
  expect(resultOf(answer)).toEqual({ command: 'help', outcome: 'done' });
  expect(bodyOf(answer)).toContain('!user list');
  const types = home.rows(
    `SELECT type FROM events WHERE room_id = ? AND sender = ? AND state_key IS NULL`,
    steward.roomId,
    steward.bot.userId,
  );
  expect(types.length).toBeGreaterThan(1);
  expect(new Set(types.map(({ type }) => type))).toEqual(new Set(['m.room.encrypted']));
});
