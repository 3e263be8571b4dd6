import stringWidth from 'string-width';
import { cutEnd, cutStart, visible } from '../../reply/visible.ts';

const phone = 38;

/** The stretch of a line around a mistake, at most a phone wide, with carets under it. */
export function excerpt(prefix: string, line: string, start: number, end: number): string {
  const before = visible(prefix + line.slice(0, start));
  const wrong = visible(line.slice(start, end)) || ' ';
  const after = visible(line.slice(end));
  const shownWrong = cutEnd(wrong, phone - 8);
  const shownBefore = cutStart(before, Math.max(8, phone - stringWidth(shownWrong) - 4));
  const shownAfter = cutEnd(after, Math.max(0, phone - stringWidth(shownBefore) - stringWidth(shownWrong)));
  return `${shownBefore}${shownWrong}${shownAfter}\n${' '.repeat(stringWidth(shownBefore))}${'^'.repeat(Math.max(1, stringWidth(shownWrong)))}`;
}
