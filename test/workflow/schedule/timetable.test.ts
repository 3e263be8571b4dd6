import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createTask } from 'node-cron';
import { Timetable } from '../../../src/workflow/schedule/timetable.ts';

const minute = 60_000;
const day = 86_400_000;

/** A wall clock by another road than the code under test. */
function label(instant: number, zone: string): string {
  const format = formats.get(zone) ?? new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' });
  formats.set(zone, format);
  return format.format(instant);
}
const formats = new Map<string, Intl.DateTimeFormat>();

/** Every time that is due in [from, until), found by looking at each minute: the slow way. */
function bruteForce(expression: string, zone: string, from: number, until: number): number[] {
  const follows = /^\S+ \* /.test(expression);
  const here = createTask(expression, () => undefined, { timezone: zone });
  const byLabel = createTask(expression, () => undefined, { timezone: 'UTC' });
  void here.destroy();
  void byLabel.destroy();
  const seen = new Set<string>();
  const due: number[] = [];
  // A day before, so that the second showing of an hour is known for what it is.
  let before = Date.parse(`${label(from - day - minute, zone)}Z`);
  for (let at = from - day; at < until; at += minute) {
    const shown = label(at, zone);
    const wall = Date.parse(`${shown}Z`);
    const again = seen.has(shown);
    seen.add(shown);
    let is = here.match(new Date(at)) && (follows || !again);
    if (!follows) for (let passed = before + minute; passed < wall; passed += minute) is ||= byLabel.match(new Date(passed));
    if (is && at >= from) due.push(at);
    before = wall;
  }
  return due;
}

function walked(expression: string, zone: string, from: number, until: number): number[] {
  const timetable = new Timetable(expression, zone);
  const due: number[] = [];
  for (let at = timetable.next(from - 1); at < until; at = timetable.next(at)) due.push(at);
  return due;
}

const iso = (times: readonly number[]): string[] => times.map((at) => new Date(at).toISOString());

/** Changes of the clock: the moment, in zones that move by an hour, by half an hour, at midnight, and not at all. */
const changes: readonly (readonly [zone: string, about: string])[] = [
  ['Europe/Berlin', '2026-03-29'],
  ['Europe/Berlin', '2026-10-25'],
  ['America/New_York', '2026-03-08'],
  ['America/New_York', '2026-11-01'],
  ['Australia/Lord_Howe', '2026-04-05'],
  ['Australia/Lord_Howe', '2026-10-04'],
  ['Africa/Cairo', '2026-04-24'],
  ['Asia/Kolkata', '2026-03-29'],
  ['Pacific/Apia', '2011-12-30'],
];

describe.each(changes)('around the change of %s about %s', (zone, about) => {
  const from = Date.parse(`${about}T00:00:00Z`) - 1.5 * day;
  const until = from + 3 * day;

  test.each(['30 2 * * *', '0,15,30,45 1-3 * * *', '*/20 * * * *', '0 0 * * *', '30 1 * * sun', '5 */2 * * *', '10 23 L * *'])(
    '%s is due when a look at each minute says so',
    (expression) => {
      expect(iso(walked(expression, zone, from, until))).toEqual(iso(bruteForce(expression, zone, from, until)));
    },
  );
});

describe('a time of the night', () => {
  const nights = (zone: string, from: string, count: number, expression = '30 2 * * *'): string[] => {
    const timetable = new Timetable(expression, zone);
    const due: number[] = [];
    for (let at = timetable.next(Date.parse(from)); due.length < count; at = timetable.next(at)) due.push(at);
    return iso(due);
  };

  test('that the clock passes over in spring is due once, right after', () => {
    expect(nights('Europe/Berlin', '2026-03-28T00:00:00Z', 3)).toEqual([
      '2026-03-28T01:30:00.000Z',
      '2026-03-29T01:00:00.000Z',
      '2026-03-30T00:30:00.000Z',
    ]);
    expect(nights('Europe/Berlin', '2026-03-29T00:00:00Z', 2, '0,20,40 2 * * *')[0]).toBe('2026-03-29T01:00:00.000Z');
    expect(nights('Europe/Berlin', '2026-03-29T00:00:00Z', 2, '0,20,40 2 * * *')[1]).toBe('2026-03-30T00:00:00.000Z');
    expect(nights('Australia/Lord_Howe', '2026-10-03T00:00:00Z', 1, '15 2 * * *')).toEqual(['2026-10-03T15:30:00.000Z']);
  });

  test('that the clock shows twice in autumn is due once, the first time', () => {
    expect(nights('Europe/Berlin', '2026-10-24T12:00:00Z', 2)).toEqual(['2026-10-25T00:30:00.000Z', '2026-10-26T01:30:00.000Z']);
    expect(nights('America/New_York', '2026-10-31T12:00:00Z', 2, '30 1 * * *')).toEqual([
      '2026-11-01T05:30:00.000Z',
      '2026-11-02T06:30:00.000Z',
    ]);
    expect(nights('Australia/Lord_Howe', '2026-04-04T00:00:00Z', 2, '45 1 * * *')).toEqual([
      '2026-04-04T14:45:00.000Z',
      '2026-04-05T15:15:00.000Z',
    ]);
  });

  test('of every hour follows the time that passes', () => {
    expect(nights('Europe/Berlin', '2026-10-24T23:30:00Z', 4, '0 * * * *')).toEqual([
      '2026-10-25T00:00:00.000Z',
      '2026-10-25T01:00:00.000Z',
      '2026-10-25T02:00:00.000Z',
      '2026-10-25T03:00:00.000Z',
    ]);
  });
});

/** Any expression that is due at least once in some days, by minutes. */
const expressions = fc
  .tuple(
    fc.constantFrom('0', '30', '7,53', '*/15', '*', '59'),
    fc.constantFrom('*', '2', '0', '1,2,3', '*/6', '23', '0-4'),
    fc.constantFrom('*', '*', '1-31/2', 'L', '15', '1,29,30'),
    fc.constantFrom('*', '*', '3,10', '4-11'),
    fc.constantFrom('*', '*', 'mon-fri', '0', '6#1', '5L'),
  )
  // The first Saturday of a month is never its last day.
  .filter(([, , date, , weekday]) => !/[#L]/.test(weekday) || date.startsWith('*') || date.startsWith('1-31'))
  .map((fields) => fields.join(' '));
const zones = fc.constantFrom(
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'Asia/Kolkata',
  'America/Sao_Paulo',
  'Africa/Casablanca',
);
const instants = fc.integer({ min: Date.UTC(2018, 0, 1) / minute, max: Date.UTC(2031, 0, 1) / minute }).map((at) => at * minute);

describe('any expression in any zone', () => {
  test('is due at the minutes that a look at each says, and no other', () => {
    fc.assert(
      fc.property(expressions, zones, instants, (expression, zone, from) => {
        const until = from + 3 * day;
        expect(iso(walked(expression, zone, from, until))).toEqual(iso(bruteForce(expression, zone, from, until)));
      }),
      { numRuns: 30 },
    );
  });

  test('is next due later, at a time after which the same instant is not due again', () => {
    fc.assert(
      fc.property(expressions, zones, instants, fc.integer({ min: 0, max: 59_999 }), (expression, zone, from, offset) => {
        const timetable = new Timetable(expression, zone);
        const next = timetable.next(from + offset);
        expect(next).toBeGreaterThan(from + offset);
        // Nothing is due between: whatever instant before it is asked, the answer is the same.
        expect(timetable.next(next - 1)).toBe(next);
        expect(timetable.next(Math.floor((from + offset + next) / 2))).toBeGreaterThanOrEqual(next);
        expect(timetable.next(next)).toBeGreaterThan(next);
      }),
      { numRuns: 200 },
    );
  });

  test('tells what was missed: the last time, and how many', () => {
    fc.assert(
      fc.property(expressions, zones, instants, fc.integer({ min: 1, max: 3000 }), (expression, zone, after, minutes) => {
        const until = after + minutes * minute;
        const all = walked(expression, zone, after + 1, until + 1);
        const missed = new Timetable(expression, zone).missed(after, until);
        if (all.length === 0) expect(missed).toBeNull();
        else expect(missed).toEqual({ latest: all.at(-1), count: Math.min(all.length, 200), more: all.length > 200 });
      }),
      { numRuns: 100 },
    );
  });
});

describe('what is far away', () => {
  test('is found without looking at each day of it', () => {
    const started = performance.now();
    expect(new Timetable('0 0 29 2 1', 'Europe/Berlin').next(Date.UTC(2026, 0, 1))).toBe(Date.UTC(2044, 1, 28, 23));
    expect(new Timetable('0 0 1 1 *', 'Europe/Berlin').next(Date.UTC(2026, 0, 1))).toBe(Date.UTC(2026, 11, 31, 23));
    const year = new Timetable('* * * * * *', 'UTC').missed(Date.UTC(2025, 0, 1), Date.UTC(2026, 0, 1) + 500);
    expect(year).toEqual({ latest: Date.UTC(2026, 0, 1), count: 200, more: true });
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('and never comes is an error', () => {
    expect(() => new Timetable('0 0 29 2 0#1', 'UTC').next(0)).toThrow(expect.objectContaining({ id: 'schedule.never' }));
  });

  test('in seconds, too', () => {
    const timetable = new Timetable('*/20 * * * * *', 'Europe/Berlin');
    expect(timetable.next(Date.UTC(2026, 0, 1, 0, 0, 20, 1))).toBe(Date.UTC(2026, 0, 1, 0, 0, 40));
    expect(timetable.next(Date.UTC(2026, 0, 1, 0, 0, 40))).toBe(Date.UTC(2026, 0, 1, 0, 1, 0));
  });
});
