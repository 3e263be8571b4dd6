import { expect, test } from '@jest/globals';
import type { Ids } from '../../src/clock.ts';
import { Backoff } from '../../src/matrix/backoff.ts';
import { MatrixRequestError } from '../../src/matrix/client.ts';

/** How long Steward waits between two tries. */

const never = (): never => {
  throw new Error('only fractions are asked for');
};
const idsOf = (fraction: number): Ids => ({ short: never, uuid: never, secret: never, fraction: () => fraction });

/** The waits of the first `count` tries, in milliseconds, with the most and the least of chance. */
function waits(error: unknown, count: number): { most: number[]; least: number[] } {
  const of = (fraction: number): number[] => {
    const backoff = new Backoff(idsOf(fraction));
    return Array.from({ length: count }, () => backoff.next(error));
  };
  return { most: of(1), least: of(0) };
}

const refused = (status: number | null, errcode: string | null = null, retryAfter: number | null = null): MatrixRequestError =>
  new MatrixRequestError('GET', status, errcode, retryAfter);

test.each([
  ['nobody answers', null],
  ['a proxy says that nobody does', 502],
  ['a proxy says that it is not there', 503],
  ['a proxy waits for nothing', 504],
])('where %s, a try comes at least every 30 s, however long it lasts', (_, status) => {
  const { most, least } = waits(refused(status), 50);

  expect(most.slice(0, 8)).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  expect(Math.max(...most)).toBe(30_000);
  expect(least).toEqual(most.map((ms) => ms / 2));
});

test('where Synapse itself is ill, tries come ever more seldom, at least every 5 min', () => {
  expect(Math.max(...waits(refused(500, 'M_UNKNOWN'), 50).most)).toBe(300_000);
});

test('what the homeserver asks for is waited, up to 5 min', () => {
  expect(waits(refused(429, 'M_LIMIT_EXCEEDED', 700), 2).most).toEqual([700, 700]);
  expect(waits(refused(429, 'M_LIMIT_EXCEEDED', 3_600_000), 1).most).toEqual([300_000]);
});

test('after a success it begins anew', () => {
  const backoff = new Backoff(idsOf(1));
  for (let n = 0; n < 20; n += 1) backoff.next(refused(null));
  backoff.reset();

  expect(backoff.next(refused(null))).toBe(500);
});
