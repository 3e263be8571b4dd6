import { afterAll, jest, test } from '@jest/globals';
import { ModelPlace } from '../model/place.ts';
import { tryHistories } from '../model/try.ts';

/** Random histories of requests, reactions, redactions, repetitions, crashes and clock jumps, on a model homeserver. */

jest.setTimeout(1_800_000);

const histories = Number(process.env['TEST_HISTORIES'] ?? 20_000);
const place = new ModelPlace();

afterAll(() => {
  place.close();
});

test(`in ${histories} histories nothing runs without its leave, nothing twice, nothing is lost`, async () => {
  await tryHistories(place, histories);
});
