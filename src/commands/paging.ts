import { countArgument } from './arguments.ts';
import type { Page } from './define.ts';

/** `--limit` and `--from` of a list that is at hand whole. */
export const pageArguments = {
  limit: countArgument(1, 1000).prefault('20').describe('Rows on a page.').meta({ value: 'N' }),
  from: countArgument(0, 999_999_999).prefault('0').describe('Where the page starts.').meta({ value: 'N' }),
};

/** The page that is asked for, or all of it. */
export function pageOf<T, Row>(
  found: readonly T[],
  args: { limit: number; from: number },
  all: boolean,
  rowOf: (one: T) => Row,
): Page<Row> {
  const end = args.from + args.limit;
  return {
    rows: (all ? found : found.slice(args.from, end)).map(rowOf),
    total: found.length,
    next: end < found.length ? String(end) : null,
  };
}
