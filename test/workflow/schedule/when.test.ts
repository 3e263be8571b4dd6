import { describe, expect, test } from '@jest/globals';
import { readWhen } from '../../../src/workflow/schedule/when.ts';

describe('when a schedule runs', () => {
  test.each([
    ['02:30', '30 2 * * *'],
    ['daily 2:05', '5 2 * * *'],
    ['hourly', '0 * * * *'],
    ['Weekdays 07:00', '0 7 * * 1-5'],
    ['weekly mon 07:00', '0 7 * * 1'],
    ['weekly Sunday 23:59', '59 23 * * 0'],
    ['monthly 1 07:00', '0 7 1 * *'],
    ['monthly last 07:00', '0 7 L * *'],
    ['0  7 * * mon-fri', '0 7 * * mon-fri'],
    ['*/10 * * * * *', '*/10 * * * * *'],
    ['@daily', '@daily'],
  ])('%s is %s', (typed, expression) => {
    expect(readWhen(typed)).toEqual({ ok: true, expression });
  });

  test.each([
    ['25:00', '25:00'],
    ['daily', 'daily'],
    ['daily noon', 'noon'],
    ['daily 02:30 CET', 'CET'],
    ['weekly someday 07:00', 'someday'],
    ['weekly mon', 'weekly mon'],
    ['monthly 30 07:00', '30'],
    ['monthly 07:00', 'monthly 07:00'],
    ['hourly 5', '5'],
    ['61 * * * *', '61'],
    ['0 24 * * *', '24'],
    ['0 0 30 2 *', '30'],
    ['0 0 * 13 *', '13'],
    ['0 0 * * 8', '8'],
    ['0 0 0 32 * *', '32'],
    ['every night', 'every night'],
    ['* * *', '* * *'],
    ['0 0 * * * ; rm', '0 0 * * * ; rm'],
  ])('%s is wrong at %s', (typed, piece) => {
    const read = readWhen(typed);
    expect(read.ok).toBe(false);
    if (!read.ok) expect(typed.slice(read.start, read.end)).toBe(piece);
  });
});
