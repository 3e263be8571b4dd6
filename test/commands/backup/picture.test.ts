import { expect, test } from '@jest/globals';
import stringWidth from 'string-width';
import { picture, type Pictured } from '../../../src/commands/backup/picture.ts';

const hour = 3_600_000;
const now = Date.UTC(2026, 10, 25, 8);
const made = (hoursAgo: number, bytes: number, proven = true): Pictured => ({ at: now - hoursAgo * hour, bytes, proven });

test('a line of days and a bar for each backup, for a phone', () => {
  const drawn = picture(
    [made(6, 1.2e9), made(30, 1.1e9), made(31, 6e8, false), made(54, 1, false), made(24 * 29.5, 1.2e9), made(24 * 40, 5)],
    now,
  );
  expect(drawn).toBe(
    [
      '█··························░██ now',
      '   6 h ████████████████  1.2 GB',
      '  30 h ██████████████▋   1.1 GB',
      '  31 h ████████          600 MB !',
      '   2 d ▏                    1 B !',
      '  30 d ████████████████  1.2 GB',
      '  40 d ▏                    5 B',
    ].join('\n'),
  );
  for (const line of drawn.split('\n')) expect(stringWidth(line)).toBeLessThanOrEqual(40);
});

test('one of the future, and one of nothing, are drawn too', () => {
  expect(picture([made(-3, 0)], now)).toBe(`${'·'.repeat(29)}█ now\n   1 s ▏                    0 B`);
});
