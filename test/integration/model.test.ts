import { afterAll, jest, test } from '@jest/globals';
import { ModelPlace } from '../model/place.ts';
import { RealPlace } from '../model/real-place.ts';
import { tryHistories } from '../model/try.ts';

/** Random histories of requests, reactions, redactions, repetitions, crashes and clock jumps, on a model homeserver; one of 500 on a real one too. */

jest.setTimeout(1_800_000);

const histories = Number(process.env['TEST_HISTORIES'] ?? 20_000);
const seed = Number(process.env['TEST_SEED'] ?? Date.now() % 2 ** 31);
const place = new ModelPlace();

afterAll(() => {
  place.close();
});

test(`in ${histories} histories nothing runs without its leave, nothing twice, nothing is lost`, async () => {
  await tryHistories(place, histories, { seed });
});

test('nor in one of 500 of them on a real homeserver, which holds what was sent and nothing else', async () => {
  const real = await RealPlace.start();
  try {
    await tryHistories(real, Math.ceil(histories / 500), { seed, isShrinking: false });
  } finally {
    await real.dispose();
  }
});
