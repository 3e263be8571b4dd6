import { createTask, parse, type ScheduledTask } from 'node-cron';
import { Failure } from '../../failures/failure.ts';
import { Zone } from './zone.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
/** Every combination of date and day of the week comes back within 40 years, also past 2100, which is no leap year. */
const horizon = 40 * 366 * day;
/** Times that are counted one by one; of more it is known that they are more. */
export const countedMissed = 200;

export interface Missed {
  /** The last time of the timetable that has passed. */
  latest: number;
  /** How many have passed, at most `countedMissed`. */
  count: number;
  more: boolean;
}

/**
 * When a schedule is due: node-cron's expression (five fields, or six with seconds first; date and day of the week must both
 * fit) by the wall clock of a zone. An expression that names hours is due once for each time it names: a time that the clock
 * passes over in spring is due right after, one that it shows twice in autumn is due the first time. One for every hour
 * follows the time that passes.
 */
export class Timetable {
  readonly expression: string;
  readonly zone: Zone;
  readonly #hours: readonly number[];
  readonly #minutes: readonly number[];
  readonly #seconds: readonly number[];
  readonly #months: ReadonlySet<number>;
  readonly #date: ScheduledTask;

  /** @throws Error where node-cron does not know the expression; RangeError for a zone that does not exist */
  constructor(expression: string, zone: string) {
    this.expression = expression;
    this.zone = new Zone(zone);
    const fields = parse(expression);
    this.#hours = ascending(fields.hour);
    this.#minutes = ascending(fields.minute);
    this.#seconds = ascending(fields.second);
    this.#months = new Set(fields.month);
    const [month, date, weekday] = [fields.month, fields.dayOfMonth, fields.dayOfWeek].map((field) => field.join(','));
    this.#date = createTask(`0 0 0 ${date} ${month} ${weekday}`, () => undefined, { timezone: 'UTC' });
    // Only its matcher is wanted: it is taken out of node-cron's list of tasks again.
    void this.#date.destroy();
  }

  /**
   * The first time after an instant at which it is due.
   *
   * @throws Failure `schedule.never` when there is none
   */
  next(after: number): number {
    return this.#hours.length === 24 ? this.#nextOfPassingTime(after) : this.#nextOfWallClock(after);
  }

  /** What has been due after one instant and up to another, or null where nothing was. */
  missed(after: number, until: number): Missed | null {
    let latest = this.next(after);
    if (latest > until) return null;
    for (let count = 1; count <= countedMissed; count += 1) {
      const next = this.next(latest);
      if (next > until) return { latest, count, more: false };
      latest = next;
    }
    for (let back = second; ; back *= 2) {
      let found = this.next(Math.max(latest, until - back));
      if (found > until) continue;
      for (let next = found; next <= until; next = this.next(next)) found = next;
      return { latest: found, count: countedMissed, more: true };
    }
  }

  /** The shortest time between two runs that follow each other, of the next `count`. */
  shortestGap(after: number, count: number): number {
    let shortest = Number.POSITIVE_INFINITY;
    for (let at = this.next(after), n = 0; n < count; n += 1) {
      const next = this.next(at);
      shortest = Math.min(shortest, next - at);
      at = next;
    }
    return shortest;
  }

  #nextOfWallClock(after: number): number {
    // The instants of ascending wall-clock times never descend.
    for (let wall = this.zone.wallOf(after); ;) {
      wall = this.#nextWall(wall);
      const instant = this.zone.firstInstant(wall);
      if (instant > after) return instant;
    }
  }

  #nextOfPassingTime(after: number): number {
    let from = after;
    let wall = this.zone.wallOf(after);
    for (;;) {
      const offset = this.zone.offset(from);
      wall = this.#nextWall(wall);
      const instant = wall - offset;
      const change = this.zone.nextChange(from, instant);
      if (change === null) return instant;
      from = change;
      wall = this.zone.wallOf(change) - 1;
    }
  }

  /** The first wall-clock time after another that the expression names. */
  #nextWall(after: number): number {
    const first = Math.floor(after / day) * day;
    for (let date = first; date <= first + horizon;) {
      const calendar = new Date(date);
      if (!this.#months.has(calendar.getUTCMonth() + 1)) {
        date = Date.UTC(calendar.getUTCFullYear(), calendar.getUTCMonth() + 1, 1);
        continue;
      }
      const time = this.#date.match(calendar) ? this.#timeOfDay(date === first ? after - date : -1) : null;
      if (time !== null) return date + time;
      date += day;
    }
    throw new Failure('schedule.never');
  }

  /** The first time of the day after `from`, in milliseconds since its start; null where there is none. */
  #timeOfDay(from: number): number | null {
    for (const hours of this.#hours) {
      if ((hours + 1) * hour <= from) continue;
      for (const minutes of this.#minutes) {
        const start = hours * hour + minutes * minute;
        if (start + minute <= from) continue;
        for (const seconds of this.#seconds) if (start + seconds * second > from) return start + seconds * second;
      }
    }
    return null;
  }
}

function ascending(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}
