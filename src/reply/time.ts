const formats = new Map<string, Intl.DateTimeFormat>();

/** `2026-11-22 21:05 CET`: the one form in which times are shown. */
export function showTime(ms: number, timeZone: string): string {
  let format = formats.get(timeZone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-GB', {
      timeZone,
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
      timeZoneName: 'short',
    });
    formats.set(timeZone, format);
  }
  const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, value]));
  const part = (type: Intl.DateTimeFormatPartTypes): string => parts.get(type) ?? '';
  return `${part('year')}-${part('month')}-${part('day')} ${part('hour')}:${part('minute')} ${part('timeZoneName')}`;
}

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const;

/** `12 h`, `5 min`, `30 s`: the largest unit of which it has at least two, or one exactly; never 0. */
export function showDuration(ms: number): string {
  for (const [unit, size] of units) {
    const count = Math.round(ms / size);
    // A moment less is the same: what is told was decided a little before.
    if (ms > 1.95 * size || (count === 1 && Math.abs(ms - size) < size / 20)) return `${count} ${unit}`;
  }
  return '1 s';
}
