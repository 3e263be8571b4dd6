import { expect, test } from '@jest/globals';
import { showDuration } from '../../src/reply/time.ts';

test.each([
  [43_200_000, '12 h'],
  [43_199_990, '12 h'],
  [86_400_000, '1 d'],
  [900_000, '15 min'],
  [5_400_000, '90 min'],
  [60_000, '1 min'],
  [59_990, '1 min'],
  [30_000, '30 s'],
  [1999, '2 s'],
  [0, '1 s'],
])('%d ms are %s', (ms, shown) => {
  expect(showDuration(ms)).toBe(shown);
});
