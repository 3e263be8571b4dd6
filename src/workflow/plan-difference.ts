import { isDeepStrictEqual } from 'node:util';
import type { Line } from '../reply/parts.ts';
import type { Plan } from './plan.ts';

/** What two plans of one request say differently: the lines that only the first has, and those that only the second has. */
export function planDifference(before: Plan, after: Plan): { was: Line[]; now: Line[] } {
  const [first, second] = [linesOf(before), linesOf(after)];
  const was = first.filter((line) => !second.some((other) => isDeepStrictEqual(line, other)));
  const now = second.filter((line) => !first.some((other) => isDeepStrictEqual(line, other)));
  // Something that no line shows, such as the name a room had.
  return was.length + now.length > 0 ? { was, now } : { was: [], now: [['a detail that the plan does not show']] };
}

function linesOf(plan: Plan): Line[] {
  return [
    ...plan.items.flatMap((item): Line[] => [
      ...item.targets.map(({ id, name }): Line => ['target: ', { id, name }]),
      ...item.changes,
      ...(item.permanent ?? []).map((line): Line => ['lost: ', ...line]),
    ]),
    [`tier: ${plan.tier}${plan.reasons.length === 0 ? '' : `, because ${plan.reasons.join(' and ')}`}`],
  ];
}
