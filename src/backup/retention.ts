/** How many backups of each kind are kept, in the words of `restic forget`. */
export interface Retention {
  /** The newest ones, whenever they were taken. */
  last: number;
  /** One of each of that many hours, days, weeks (ISO 8601), months, years that have one. */
  hourly: number;
  daily: number;
  weekly: number;
  monthly: number;
  yearly: number;
  /** All that are at most this much older than the newest one; milliseconds, 0 for none. */
  within: number;
}

/** What is judged. */
export interface Candidate {
  id: string;
  /** When the database was as it is in it; milliseconds since the epoch. */
  at: number;
  pinned: boolean;
  /** Content and stored object are proven as far as they can be without a key. */
  proven: boolean;
}

/** A backup, and why it is kept; without a reason it is to be removed. */
export interface Judged extends Candidate {
  reasons: readonly string[];
}

const periods = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;

/**
 * Which backups of one destination are kept, and why; newest first. The newest proven one and pinned ones are kept always, and
 * without a proven one the newest. Of one period the newest proven backup is kept, and the newest where none is proven.
 *
 * @param timeZone where an hour, a day, a week begins
 */
export function judge(candidates: readonly Candidate[], retention: Retention, timeZone: string): Judged[] {
  const newestFirst = [...candidates].sort((one, other) => other.at - one.at || (one.id < other.id ? 1 : -1));
  const reasons = new Map<string, string[]>(newestFirst.map(({ id }) => [id, []]));
  const keep = (candidate: Candidate | undefined, reason: string): void => {
    if (candidate !== undefined) reasons.get(candidate.id)?.push(reason);
  };
  for (const candidate of newestFirst) if (candidate.pinned) keep(candidate, 'pinned');
  const proven = newestFirst.find((candidate) => candidate.proven);
  keep(proven ?? newestFirst[0], proven === undefined ? 'the newest; none is proven' : 'the newest proven');
  for (const candidate of newestFirst.slice(0, retention.last)) keep(candidate, 'last');
  const newest = newestFirst[0]?.at ?? 0;
  for (const candidate of newestFirst) if (newest - candidate.at < retention.within) keep(candidate, 'within');
  const calendar = calendarOf(timeZone);
  const dates = newestFirst.map((candidate) => ({ candidate, date: calendar(candidate.at) }));
  for (const period of periods) {
    const best = new Map<string, Candidate>();
    for (const { candidate, date } of dates) {
      const key = date[period];
      const held = best.get(key);
      if (held === undefined) {
        if (best.size >= retention[period]) break;
        best.set(key, candidate);
      } else if (!held.proven && candidate.proven) best.set(key, candidate);
    }
    for (const [key, candidate] of best) keep(candidate, `${period} ${key}`);
  }
  return newestFirst.map((candidate) => ({ ...candidate, reasons: reasons.get(candidate.id) ?? [] }));
}

type Periods = Readonly<Record<(typeof periods)[number], string>>;

/** Names of the hour, day, week, month and year of a time, as clocks of a zone show them. */
function calendarOf(timeZone: string): (at: number) => Periods {
  const format = new Intl.DateTimeFormat('en-CA', {
    timeZone,
    hourCycle: 'h23',
    ...{ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', timeZoneName: 'longOffset' },
  });
  return (at) => {
    const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
    const [year, month, day] = [parts['year'] ?? '', parts['month'] ?? '', parts['day'] ?? ''];
    const daily = `${year}-${month}-${day}`;
    // The hour that a clock shows twice in autumn is two hours.
    const hourly = `${daily} ${parts['hour'] ?? ''} ${parts['timeZoneName'] ?? ''}`;
    return { hourly, daily, weekly: weekOf(daily), monthly: `${year}-${month}`, yearly: year };
  };
}

/** `2026-W48`: the week of the year that has its Thursday (ISO 8601). */
function weekOf(day: string): string {
  const thursday = new Date(`${day}T00:00:00Z`);
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const year = thursday.getUTCFullYear();
  const week = Math.ceil(((thursday.getTime() - Date.UTC(year, 0, 1)) / 86_400_000 + 1) / 7);
  return `${year}-W${String(week).padStart(2, '0')}`;
}
