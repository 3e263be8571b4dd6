import { sizeText } from '../../reply/size.ts';
import { showDuration } from '../../reply/time.ts';

export interface Pictured {
  /** When its data are of, milliseconds since the epoch. */
  at: number;
  bytes: number;
  proven: boolean;
}

const day = 24 * 3_600_000;
/** Days that the line of days shows, and characters of the longest bar. */
const days = 30;
const widest = 16;
/** Backups that have a bar. */
const bars = 10;
const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;

/**
 * Sizes and ages as a picture of at most 40 columns: a line with a character for each 24 h, oldest first, and under it a bar for
 * each of the newest backups, as long as its size.
 *
 * @param backups newest first
 */
export function picture(backups: readonly Pictured[], now: number): string {
  const shown = backups.slice(0, bars);
  const largest = Math.max(1, ...shown.map(({ bytes }) => bytes));
  const rows = shown.map(({ at, bytes, proven }) =>
    [
      showDuration(Math.max(0, now - at)).padStart(6),
      bar(bytes / largest).padEnd(widest),
      sizeText(bytes).padStart(7),
      ...(proven ? [] : ['!']),
    ].join(' '),
  );
  return [`${lineOfDays(backups, now)} now`, ...rows].join('\n');
}

/** `█` a proven backup, `░` one that is not, `·` none. */
function lineOfDays(backups: readonly Pictured[], now: number): string {
  return Array.from({ length: days }, (_, n) => {
    const age = days - 1 - n;
    const found = backups.filter(({ at }) => Math.floor(Math.max(0, now - at) / day) === age);
    return found.length === 0 ? '·' : found.some(({ proven }) => proven) ? '█' : '░';
  }).join('');
}

/** @param share of the widest, 0 to 1; what is not nothing is seen */
function bar(share: number): string {
  const steps = Math.max(1, Math.round(share * widest * 8));
  return '█'.repeat(Math.floor(steps / 8)) + (eighths[steps % 8] ?? '');
}
