import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { fields, text, type Line, type Part } from '../../reply/parts.ts';
import { showTime } from '../../reply/time.ts';
import { timetableOf, type Schedule } from '../../workflow/schedule/schedule.ts';
import { duration } from '../../workflow/schedule/scheduler.ts';
import type { NewSchedule } from '../../workflow/schedule/schedules.ts';
import { whenForms } from '../../workflow/schedule/when.ts';
import { defaultObjects, giversOf, standingFor } from '../../workflow/standing.ts';
import { atLeast } from '../../workflow/tier.ts';
import { countArgument } from '../arguments.ts';
import type { CommandContext } from '../context.ts';
import { defineWrite, groupOf } from '../define.ts';
import { excerpt } from '../grammar/excerpt.ts';
import { readInner, type Inner } from './inner.ts';
import { expressionIn, isTimeZone, nextLine, scheduleName, scheduleShape, shapeOf } from './shared.ts';

/** Runs looked at to tell whether the jitter may reach into the next. */
const gapsLookedAt = 60;

interface Data extends Omit<NewSchedule, 'requester'> {
  /** Objects a run that its standing approval covers; null where its runs need none. */
  maxObjects: number | null;
}

export const scheduleAdd = defineWrite({
  name: 'schedule add',
  summary: 'Run a command by a timetable. What it comes to is told in the room; a failure pings.',
  details: [
    `When: ${whenForms}. An expression has five fields, or six with seconds first; date and day of the week must both fit.`,
    'The command runs as you, and stops when your role for it goes. A time that the clock passes over in spring runs right after; one that it shows twice in autumn runs once. A run never overlaps the one before.',
    'A destructive command is approved once, by whoever its tier asks for: then it runs without being asked again for 90 days, with at most `--max-objects` objects a run, while you keep the role and who approved it may still approve. A run that passes a bound is asked for in the room like any other request. `veto ID` with the id of the approved request, or `schedule remove`, takes the approval back. What is catastrophic is approved each time, and runs in no schedule.',
    'A run that was missed while Steward was not running, or that a freeze or a lock-down forbade, is made up for, once for all that were missed; with `--catch-up none` it is only told.',
  ],
  tier: 'confirmed',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    name: scheduleName.describe('A name for it.'),
    when: z
      .string()
      .min(1, 'not empty')
      .max(120, 'at most 120 characters')
      .describe('When it runs.')
      .meta({ positional: 1, value: 'WHEN' }),
    command: z.string().min(1, 'not empty').describe('The command, in quotes.').meta({ positional: 2, value: 'COMMAND' }),
    zone: z
      .string()
      .refine(isTimeZone, 'a time zone such as Europe/Berlin')
      .optional()
      .describe('Time zone of the timetable; the configured one when left out.')
      .meta({ value: 'ZONE' }),
    jitter: z
      .string()
      .regex(/^[1-9]\d{0,3}(s|m|h)$/, 'a time such as 30s, 5m or 1h')
      .optional()
      .describe('Begin up to so much later, another amount each time.')
      .meta({ value: 'TIME' }),
    catchUp: z.enum(['one', 'none'], 'one of one, none').default('one').describe('What becomes of missed runs.').meta({ value: 'HOW' }),
    maxObjects: countArgument(1, 1000)
      .optional()
      .describe(`Objects that a run of a destructive command may change without being asked for; ${defaultObjects} when left out.`)
      .meta({ value: 'N' }),
  }),
  result: scheduleShape.extend({ approvedBy: z.array(z.string()), approvedUntil: z.string().nullable() }),
  examples: [
    'schedule add health "weekdays 07:00" "server status"',
    'schedule add stale "0 8 1 * *" "user list --inactive 180d --csv" --zone Europe/Berlin',
  ],

  async plan(ctx, args) {
    const attempted = `add the schedule ${args.name}`;
    if (ctx.schedules.find(args.name) !== null)
      throw new Failure('schedule.exists', { attempted, reason: `there is a schedule ${args.name}` });
    const expression = expressionIn(args.when, attempted);
    const timeZone = args.zone ?? ctx.config.timeZone;
    const jitter = args.jitter === undefined ? 0 : millisecondsOf(args.jitter);
    const timetable = timetableOf({ expression, timeZone });
    const first = nextOf(() => timetable.next(ctx.clock.now()), attempted, args.when);
    const gap = jitter === 0 ? Number.POSITIVE_INFINITY : timetable.shortestGap(ctx.clock.now(), gapsLookedAt);
    if (jitter >= gap)
      throw new Failure('usage.invalid-value', {
        attempted,
        reason: `the jitter is as long as the time between two runs (${duration(gap)})`,
        hint: 'Give a shorter one.',
      });
    const inner = await readInner(ctx, args.command, attempted);
    const maxObjects = boundOf(ctx, inner, args.maxObjects, attempted);
    const data: Data = {
      name: args.name,
      due: args.when.trim().replace(/\s+/g, ' '),
      expression,
      timeZone,
      line: inner.line,
      command: inner.command.name,
      tier: inner.tier,
      catchUp: args.catchUp,
      jitter,
      maxObjects,
    };
    return {
      targets: [{ id: args.name }],
      changes: [
        [`run ${data.due} (${timeZone}`, ...(jitter === 0 ? [] : [`, up to ${args.jitter ?? ''} later`]), '): ', { command: inner.line }],
        ...(maxObjects === null
          ? []
          : [
              [
                `without being asked again: for ${duration(standingFor)} from the approval, at most ${maxObjects} ${maxObjects === 1 ? 'object' : 'objects'} a run; what is more is asked for`,
              ],
            ]),
      ],
      preview: [
        ...inner.changes.map((change): Line => ['each time: ', ...change]),
        ...inner.permanent.map((line): Line => ['each time, for good: ', ...line]),
        [`first at ${showTime(first, timeZone)}`],
      ],
      ...(maxObjects === null
        ? {}
        : {
            grants: groupOf(inner.command),
            raise: { tier: inner.tier, reason: `it lets \`${inner.command.name}\` run, which is ${inner.tier}${inner.because}` },
          }),
      undo: `schedule remove ${args.name}`,
      data,
    };
  },

  run: (ctx, { maxObjects, ...data }: Data, jobId) => {
    const { requester } = ctx;
    const schedule = { ...data, requester: requester.kind === 'shell' ? requester : { ...requester } };
    ctx.schedules.add(schedule, maxObjects === null ? null : { maxObjects, jobId });
    return Promise.resolve({});
  },

  readBack: (ctx, data) => {
    const schedule = ctx.schedules.find(data.name);
    if (schedule === null || !isAsPlanned(schedule, data)) return Promise.resolve(null);
    const standing = ctx.standing.of(schedule.id);
    return Promise.resolve({
      ...shapeOf(ctx, schedule),
      approvedBy: standing === null ? [] : giversOf(standing),
      approvedUntil: standing === null ? null : new Date(standing.until).toISOString(),
    });
  },

  reply: (result, data, ctx) => [
    text('Added the schedule ', { strong: result.name }, '.'),
    fields(['runs', [{ command: result.command }]], ['when', [`${result.due} (${result.timeZone})`]], ['next', [nextLine(result)]]),
    ...(data.maxObjects === null ? [] : [approvedPart(result, data.maxObjects, ctx.config.timeZone)]),
    ...(ctx.schedules.run ? [] : [text('It runs as soon as the daemon does: ', { code: 'steward run' }, '.')]),
  ],
});

/** The bound of what its standing approval will cover; null where its runs need none. */
export function boundOf(
  ctx: CommandContext,
  inner: Pick<Inner, 'command' | 'tier' | 'objects'>,
  given: number | undefined,
  attempted: string,
): number | null {
  const most = ctx.config.limits.bulk;
  if (!atLeast(inner.tier, 'destructive')) {
    if (given === undefined) return null;
    const reason = `\`${inner.command.name}\` is ${inner.tier}, and runs without an approval`;
    throw new Failure('usage.invalid-value', { attempted, reason, hint: 'Leave `--max-objects` out.' });
  }
  const bound = given ?? Math.min(defaultObjects, most);
  if (bound > most)
    throw new Failure('usage.invalid-value', {
      attempted,
      reason: `at most ${most} objects a run can be approved beforehand (\`limits.bulk\`)`,
      hint: 'A run with more is asked for when it comes.',
    });
  if (inner.objects > bound)
    throw new Failure('usage.invalid-value', {
      attempted,
      reason: `it would change ${inner.objects} objects now, more than the ${bound} that a run may`,
      hint:
        given === undefined && inner.objects <= most ? `Give \`--max-objects ${inner.objects}\`.` : 'Type the command once by hand first.',
    });
  return bound;
}

export function approvedPart(
  { approvedBy, approvedUntil }: { approvedBy: readonly string[]; approvedUntil: string | null },
  most: number,
  zone: string,
): Part {
  if (approvedUntil === null) return text('Nobody has approved its runs beforehand: each is asked for in the room.');
  const until = showTime(Date.parse(approvedUntil), zone);
  return text(`Approved by ${approvedBy.join(' and ')} until ${until}, at most ${most} objects a run.`);
}

function isAsPlanned(schedule: Schedule, data: Data): boolean {
  return schedule.line === data.line && schedule.expression === data.expression && schedule.timeZone === data.timeZone;
}

function nextOf(next: () => number, attempted: string, when: string): number {
  try {
    return next();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(error.id, { attempted, excerpt: excerpt('', when, 0, when.length) });
  }
}

function millisecondsOf(text: string): number {
  return Number.parseInt(text, 10) * ({ s: 1000, m: 60_000, h: 3_600_000 }[text.at(-1) ?? 's'] ?? 1000);
}
