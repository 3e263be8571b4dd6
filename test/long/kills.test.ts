import { afterAll, beforeAll, jest, test } from '@jest/globals';
import { Homeserver } from '../integration/support/homeserver.ts';
import { killUnderTraffic } from '../integration/support/kills.ts';

/** What test/integration/device.test.ts does with 20 kills. TEST_KILLS sets another number. */

const kills = Number(process.env['TEST_KILLS'] ?? 200);

jest.setTimeout(120_000 + kills * 15_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

test(`killed ${kills} times under traffic, nothing is undecryptable on either side, and each command is answered once`, async () => {
  await killUnderTraffic(home, kills);
});
