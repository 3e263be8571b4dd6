const day = 86_400_000;
const hour = 3_600_000;
/** Twice a year a zone may change; no two changes lie nearer together than this. */
const stride = 7 * day;

/**
 * The clock on the wall of a time zone. A wall-clock time is a number too: the milliseconds since the epoch at which a clock
 * in UTC shows the same.
 */
export class Zone {
  readonly name: string;
  readonly #format: Intl.DateTimeFormat;

  /** @param name of the IANA database, such as Europe/Berlin. Throws RangeError for another */
  constructor(name: string) {
    this.name = name;
    this.#format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  }

  /** How far the wall clock is ahead of UTC at an instant, in milliseconds. */
  offset(instant: number): number {
    const part: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
    for (const { type, value } of this.#format.formatToParts(instant)) part[type] = Number(value);
    const { year = 0, month = 1, day: date = 1, hour: hours = 0, minute = 0, second = 0 } = part;
    return Date.UTC(year, month - 1, date, hours, minute, second) - Math.floor(instant / 1000) * 1000;
  }

  wallOf(instant: number): number {
    return instant + this.offset(instant);
  }

  /**
   * The instant at which the wall clock shows a time: the first of two where it shows it twice, and the moment of the change
   * where it passes it over.
   */
  firstInstant(wall: number): number {
    const near = wall - this.offset(wall);
    const before = this.offset(near - 25 * hour);
    const after = this.offset(near + 25 * hour);
    if (before === after) return wall - before;
    const shown = [wall - before, wall - after].filter((instant) => this.wallOf(instant) === wall);
    if (shown.length > 0) return Math.min(...shown);
    return this.nextChange(wall - Math.max(before, after) - 1, wall - Math.min(before, after)) ?? wall - before;
  }

  /** The first instant after `from`, up to `until`, at which the offset is another than at `from`; null where there is none. */
  nextChange(from: number, until: number): number | null {
    const offset = this.offset(from);
    for (let low = from; low < until;) {
      let high = Math.min(low + stride, until);
      if (this.offset(high) === offset) {
        low = high;
        continue;
      }
      while (high - low > 1) {
        const middle = Math.floor((low + high) / 2);
        if (this.offset(middle) === offset) low = middle;
        else high = middle;
      }
      return high;
    }
    return null;
  }
}
