import { validateDetailed } from 'node-cron';

/** When a schedule runs, as a person typed it: what it means for node-cron, or the stretch that is wrong. */
export type When = { ok: true; expression: string } | { ok: false; reason: string; start: number; end: number };

const fieldNames = ['second', 'minute', 'hour', 'dayOfMonth', 'month', 'dayOfWeek'];
const words: Record<string, string> = {
  second: 'the second',
  minute: 'the minute',
  hour: 'the hour',
  dayOfMonth: 'the day of the month',
  month: 'the month',
  dayOfWeek: 'the day of the week',
};
const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

export const whenForms = '02:30, hourly, weekdays 07:00, weekly mon 07:00, monthly 1 07:00, monthly last 07:00, or a cron expression';

/** Reads `02:30`, `daily 02:30`, `hourly`, `weekdays 07:00`, `weekly mon 07:00`, `monthly 1 07:00`, or an expression of node-cron. */
export function readWhen(text: string): When {
  const short = readWords(text);
  if (short !== null) return short;
  const found = validateDetailed(text);
  if (found.valid) return { ok: true, expression: text.trim().replace(/\s+/g, ' ') };
  const [error] = found.errors;
  const whole = { start: 0, end: text.length };
  if (error === undefined || error.field === 'expression') return { ok: false, reason: `it must be ${whenForms}`, ...whole };
  const spans = [...text.matchAll(/\S+/g)].map((match) => ({ start: match.index, end: match.index + match[0].length }));
  const at = fieldNames.indexOf(error.field) - (spans.length === 5 ? 1 : 0);
  const impossible = error.message.includes('impossible');
  return {
    ok: false,
    reason: impossible ? 'there is no such day in that month' : `${words[error.field] ?? error.field} is none that exists`,
    ...(spans[at] ?? whole),
  };
}

function readWords(text: string): When | null {
  const tokens = [...text.matchAll(/\S+/g)].map((match) => ({
    value: match[0].toLowerCase(),
    start: match.index,
    end: match.index + match[0].length,
  }));
  const [first, ...rest] = tokens;
  if (first === undefined) return null;
  const wrong = (token: { start: number; end: number } | undefined, reason: string): When => ({
    ok: false,
    reason,
    ...(token === undefined ? { start: 0, end: text.length } : { start: token.start, end: token.end }),
  });
  const time = (token: { value: string } | undefined): string | null => {
    const match = /^([01]?\d|2[0-3]):([0-5]\d)$/.exec(token?.value ?? '');
    return match === null ? null : `${Number(match[2])} ${Number(match[1])}`;
  };
  const needed = ({ daily: 2, weekdays: 2, weekly: 3, monthly: 3, hourly: 1 } as Record<string, number>)[first.value];
  if (needed === undefined) {
    if (tokens.length > 1 || !first.value.includes(':')) return null;
    const alone = time(first);
    return alone === null ? wrong(first, 'it is no time of the day, such as 02:30') : { ok: true, expression: `${alone} * * *` };
  }
  const extra = tokens[needed];
  if (extra !== undefined) return wrong(extra, 'it is one word too many');
  if (first.value === 'hourly') return { ok: true, expression: '0 * * * *' };
  const clock = rest.at(needed - 2);
  const at = time(clock);
  if (at === null) return wrong(clock, 'a time of the day such as 02:30 belongs here');
  if (first.value === 'daily') return { ok: true, expression: `${at} * * *` };
  if (first.value === 'weekdays') return { ok: true, expression: `${at} * * 1-5` };
  const [which] = rest;
  if (first.value === 'weekly') {
    const weekday = weekdays.indexOf((which?.value ?? '').slice(0, 3));
    const isName = /^[a-z]{3,9}$/.test(which?.value ?? '');
    return weekday === -1 || !isName ? wrong(which, 'a day such as mon belongs here') : { ok: true, expression: `${at} * * ${weekday}` };
  }
  if (which?.value === 'last') return { ok: true, expression: `${at} L * *` };
  const date = /^\d{1,2}$/.test(which?.value ?? '') ? Number(which?.value) : 0;
  return date >= 1 && date <= 28
    ? { ok: true, expression: `${at} ${date} * *` }
    : wrong(which, 'a day from 1 to 28 belongs here, or `last`');
}
