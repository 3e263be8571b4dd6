import { expect, test } from '@jest/globals';
import { absoluteLimit, lineOf, passes, ratioLimit, type Side } from '../../bench/limit.ts';
import { median, medianRatio, spreadOf } from '../../bench/statistics.ts';

const side = (...values: number[]): Side => ({ ran: 'a command', unit: 's', values });

test('the median of an even number of values lies between the two in the middle', () => {
  expect(median([4, 1, 100])).toBe(4);
  expect(median([4, 1, 100, 6])).toBe(5);
  expect(spreadOf([4, 1, 100])).toEqual({ median: 4, min: 1, max: 100 });
});

test('a ratio is taken round by round: a slow moment of the machine counts for neither side', () => {
  expect(medianRatio([1, 10, 1], [2, 20, 1])).toBe(0.5);
});

test('a limit is met up to its reach', () => {
  expect(passes(ratioLimit('x', 0.5, side(1), side(2), ''))).toBe(true);
  expect(passes(ratioLimit('x', 0.49, side(1), side(2), ''))).toBe(false);
  expect(passes(absoluteLimit('x', 1, side(3, 0.5, 1), ''))).toBe(true);
});

test('a line tells both sides with their spread', () => {
  expect(JSON.parse(lineOf(ratioLimit('x', 1.2, side(1, 2, 3), side(2, 2, 2), 'here')))).toEqual({
    ...{ name: 'x', value: 1, unit: 'ratio', op: '<=', reach: 1.2, pass: true, n: 3 },
    steward: { ran: 'a command', unit: 's', median: 2, min: 1, max: 3 },
    rival: { ran: 'a command', unit: 's', median: 2, min: 2, max: 2 },
    on: 'here',
  });
});
