import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { judge, type Candidate, type Retention } from '../../src/backup/retention.ts';

const nothing: Retention = { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: 0 };
const hour = 3_600_000;

function taken(time: string, more: Partial<Candidate> = {}): Candidate {
  return { id: time, at: Date.parse(time), pinned: false, proven: true, ...more };
}
const kept = (candidates: readonly Candidate[], retention: Partial<Retention>, zone = 'UTC'): string[] =>
  judge(candidates, { ...nothing, ...retention }, zone)
    .filter(({ reasons }) => reasons.length > 0)
    .map(({ id }) => id);

describe('what is kept', () => {
  const nightly = Array.from({ length: 400 }, (_, n) => taken(new Date(Date.UTC(2026, 10, 25, 2, 30) - n * 24 * hour).toISOString()));

  test('of 400 nights: seven days, five weeks, twelve months', () => {
    const days = kept(nightly, { daily: 7, weekly: 5, monthly: 12 }).map((id) => id.slice(0, 10));
    expect(days).toEqual([
      ...['2026-11-25', '2026-11-24', '2026-11-23', '2026-11-22', '2026-11-21', '2026-11-20', '2026-11-19'],
      // Sundays, the last day of each month.
      ...['2026-11-15', '2026-11-08', '2026-11-01', '2026-10-31', '2026-09-30', '2026-08-31', '2026-07-31', '2026-06-30'],
      ...['2026-05-31', '2026-04-30', '2026-03-31', '2026-02-28', '2026-01-31', '2025-12-31'],
    ]);
  });

  test('days without a backup are not counted', () => {
    const gaps = [
      taken('2026-11-25T02:00:00Z'),
      taken('2026-11-20T02:00:00Z'),
      taken('2026-10-01T02:00:00Z'),
      taken('2026-09-01T02:00:00Z'),
    ];
    expect(kept(gaps, { daily: 3 })).toHaveLength(3);
  });

  test('the day is that of the zone, the week that of ISO 8601, and the hour that comes twice is two', () => {
    const midnight = [taken('2026-06-01T22:30:00Z'), taken('2026-06-01T21:30:00Z')];
    expect(kept(midnight, { daily: 2 }, 'Europe/Berlin')).toHaveLength(2);
    expect(kept(midnight, { daily: 2 }, 'UTC')).toHaveLength(1);
    const year = [taken('2027-01-01T12:00:00Z'), taken('2026-12-28T12:00:00Z'), taken('2026-12-27T12:00:00Z')];
    expect(judge(year, { ...nothing, weekly: 9 }, 'UTC').map(({ reasons }) => reasons.at(-1))).toEqual([
      'weekly 2026-W53',
      undefined,
      'weekly 2026-W52',
    ]);
    const autumn = [taken('2026-10-25T01:30:00Z'), taken('2026-10-25T00:30:00Z'), taken('2026-10-25T00:10:00Z')];
    expect(kept(autumn, { hourly: 9 }, 'Europe/Berlin')).toEqual([autumn[0]?.id, autumn[1]?.id]);
  });

  test('of one day the newest proven, and the newest where none is', () => {
    const day = [
      taken('2026-11-25T20:00:00Z', { proven: false }),
      taken('2026-11-25T10:00:00Z'),
      taken('2026-11-24T20:00:00Z', { proven: false }),
      taken('2026-11-24T10:00:00Z', { proven: false }),
    ];
    expect(kept(day, { daily: 2 })).toEqual([day[1]?.id, day[2]?.id]);
  });

  test('whatever the rule says: the newest proven one, and what is pinned', () => {
    const all = [
      taken('2026-11-25T10:00:00Z', { proven: false }),
      taken('2026-11-24T10:00:00Z'),
      taken('2020-01-01T00:00:00Z', { pinned: true }),
    ];
    expect(kept(all, {})).toEqual([all[1]?.id, all[2]?.id]);
    const unproven = all.map((each) => ({ ...each, proven: false, pinned: false }));
    expect(judge(unproven, nothing, 'UTC').map(({ reasons }) => reasons)).toEqual([['the newest; none is proven'], [], []]);
  });

  test('all that are not much older than the newest', () => {
    const close = [taken('2026-11-25T10:00:00Z'), taken('2026-11-25T09:30:00Z'), taken('2026-11-25T09:00:00Z')];
    expect(kept(close, { within: hour })).toEqual([close[0]?.id, close[1]?.id]);
  });
});

const candidates = fc.uniqueArray(fc.record({ at: fc.integer({ min: 0, max: 4000 }), pinned: fc.boolean(), proven: fc.boolean() }), {
  selector: ({ at }) => at,
  maxLength: 40,
});
const retentions = fc.record({
  ...{ last: fc.nat(4), hourly: fc.nat(4), daily: fc.nat(4), weekly: fc.nat(4), monthly: fc.nat(4), yearly: fc.nat(2) },
  within: fc.nat(100).map((hours) => hours * hour),
});
const named = (drawn: readonly Omit<Candidate, 'id'>[]): Candidate[] =>
  drawn.map(({ at, ...more }) => ({ ...more, at: Date.UTC(2026, 0, 1) + at * hour, id: String(at) }));

test('whatever there is: something is always kept, a second run removes nothing, and a wider rule keeps no less', () => {
  fc.assert(
    fc.property(candidates, retentions, fc.constantFrom('UTC', 'Europe/Berlin', 'Asia/Kathmandu'), (drawn, retention, zone) => {
      const all = named(drawn);
      const first = kept(all, retention, zone);
      expect(first.length).toBeGreaterThanOrEqual(Math.min(1, all.length));
      expect(all.filter(({ pinned }) => pinned).every(({ id }) => first.includes(id))).toBe(true);
      const stay = all.filter(({ id }) => first.includes(id));
      expect(kept(stay, retention, zone)).toEqual(first);
      const wider = kept(all, { ...retention, last: retention.last + 1, daily: retention.daily + 2 }, zone);
      expect(first.filter((id) => !wider.includes(id))).toEqual([]);
    }),
    { numRuns: 1000 },
  );
});
