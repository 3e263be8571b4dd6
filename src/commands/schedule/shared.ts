import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import type { Inline } from '../../reply/parts.ts';
import { showTime } from '../../reply/time.ts';
import type { Schedule } from '../../workflow/schedule/schedule.ts';
import type { CommandContext } from '../context.ts';
import { groupOf, type Command } from '../define.ts';
import { mayRequest } from '../../workflow/roles.ts';
import { readWhen, whenForms } from '../../workflow/schedule/when.ts';
import { excerpt } from '../grammar/excerpt.ts';

export const scheduleName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'a name of at most 32 lower-case letters, digits and hyphens')
  .describe('The schedule.')
  .meta({ positional: 0, value: 'NAME' });

/** What a schedule says of itself in answers. */
export const scheduleShape = z.object({
  name: z.string(),
  due: z.string(),
  timeZone: z.string(),
  command: z.string(),
  nextRun: z.string().nullable(),
});

export function shapeOf(ctx: CommandContext, schedule: Schedule): z.input<typeof scheduleShape> {
  const next = ctx.schedules.nextRun(schedule);
  return {
    name: schedule.name,
    due: schedule.due,
    timeZone: schedule.timeZone,
    command: schedule.line,
    nextRun: next === null ? null : new Date(next).toISOString(),
  };
}

/** The times that somebody wrote, as an expression. @throws Failure `usage.invalid-value` that points at what is wrong */
export function expressionIn(text: string, attempted: string): string {
  const when = readWhen(text);
  if (when.ok) return when.expression;
  throw new Failure('usage.invalid-value', {
    attempted,
    reason: when.reason,
    hint: `For example ${whenForms}.`,
    excerpt: excerpt('', text, when.start, when.end),
  });
}

/** When it runs next, by its own clock. */
export function nextLine({ nextRun, timeZone }: { nextRun: string | null; timeZone: string }): Inline {
  return nextRun === null ? 'paused' : showTime(Date.parse(nextRun), timeZone);
}

/** Whoever acts on a schedule has power over its command, so that a role for it is needed too. */
export function assertMayRequestInner(ctx: CommandContext, command: Command, tier: Schedule['tier'], attempted: string): void {
  const group = groupOf(command);
  if (mayRequest(ctx.config, ctx.requester, group, tier)) return;
  throw new Failure('access.not-allowed', {
    attempted,
    reason: `your role does not include ${tier} commands of the group \`${group}\``,
  });
}

export function isTimeZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}
