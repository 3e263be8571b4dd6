import { z } from 'zod';
import type { AuditActor } from '../../audit/audit.ts';
import { outlookText } from '../../backup/outlook.ts';
import { createCommand } from '../../backup/runs.ts';
import { asFailure, Failure } from '../../failures/failure.ts';
import { fields, text, type Line, type Part } from '../../reply/parts.ts';
import { showTime } from '../../reply/time.ts';
import type { NewSchedule } from '../../workflow/schedule/schedules.ts';
import { timetableOf, type Schedule } from '../../workflow/schedule/schedule.ts';
import { whenForms } from '../../workflow/schedule/when.ts';
import { duration } from '../../workflow/schedule/scheduler.ts';
import { giversOf, standingFor } from '../../workflow/standing.ts';
import { countArgument } from '../arguments.ts';
import type { CommandContext } from '../context.ts';
import { defineRead, defineWrite } from '../define.ts';
import { quote } from '../grammar/tokenise.ts';
import { approvedPart, boundOf } from '../schedule/add.ts';
import { readInner, type Inner } from '../schedule/inner.ts';
import { expressionIn, isTimeZone, nextLine } from '../schedule/shared.ts';
import { destinationArgument } from './shared.ts';

/** Names of the two schedules: the backup, and the pruning that follows it. */
const nightly = 'backup';
const pruning = 'backup-prune';
const pruneCommand = 'backup prune';

const shape = z.object({
  due: z.string().nullable(),
  timeZone: z.string().nullable(),
  command: z.string().nullable(),
  nextRun: z.string().nullable(),
  prune: z.string().nullable(),
  approvedBy: z.array(z.string()),
  approvedUntil: z.string().nullable(),
  maxObjects: z.number().nullable(),
});
type Shown = z.output<typeof shape>;

interface Data {
  /** Id of the schedule that is changed or removed, or null for a new one. */
  id: string | null;
  /** Null removes it. */
  to: Pick<NewSchedule, 'due' | 'expression' | 'timeZone' | 'line'> | null;
  /** The pruning that is to follow it anew, or null where that stays as it is. */
  prune: { line: string; maxObjects: number } | null;
}

export const backupSchedule = defineWrite({
  name: 'backup schedule',
  summary: 'Back up every night, and report in the room; alone it shows when.',
  details: [
    `When: ${whenForms}. It is a schedule named \`${nightly}\`, which \`schedule list\`, \`pause\` and \`run\` know too. Given again it changes the time.`,
    '`--prune` removes after each good backup what `backup.retention` does not keep: approved once, by another person, for 90 days and at most `--max-objects` backups a run.',
    'A backup that fails, or that is late by two hours, pings people here and by the channels of `alerts`. The report says how it compares with the last, what is proven, and what a restore would come to.',
  ],
  tier: 'confirmed',
  lock: 'none',
  bulk: false,
  bare: 'backup schedule show',
  args: z.strictObject({
    when: z
      .string()
      .min(1, 'not empty')
      .max(120, 'at most 120 characters')
      .optional()
      .describe('When it runs, such as 02:30.')
      .meta({ positional: 0, value: 'WHEN' }),
    zone: z
      .string()
      .refine(isTimeZone, 'a time zone such as Europe/Berlin')
      .optional()
      .describe('Time zone of that; the configured one when left out.')
      .meta({ positional: 1, value: 'ZONE' }),
    to: destinationArgument,
    prune: z.boolean().default(false).describe('Prune after each backup.'),
    maxObjects: countArgument(1, 1000).optional().describe('Backups that one run may prune unasked.').meta({ value: 'N' }),
    remove: z.boolean().default(false).describe('Back up no more at night.'),
  }),
  result: shape,
  examples: ['backup schedule 02:30 Europe/Berlin', 'backup schedule --remove'],

  async plan(ctx, args) {
    const current = nightlyOf(ctx);
    if (args.remove) return removal(ctx, args, current);
    const attempted = 'schedule backups';
    if (args.when === undefined)
      throw new Failure('usage.missing-value', { attempted, reason: 'the time is missing', hint: `For example ${whenForms}.` });
    const expression = expressionIn(args.when, attempted);
    const timeZone = args.zone ?? current?.timeZone ?? ctx.config.timeZone;
    const first = timetableOf({ expression, timeZone }).next(ctx.clock.now());
    const inner = await readInner(ctx, lineOf(createCommand, 'to', args.to), attempted);
    const due = args.when.trim().replace(/\s+/g, ' ');
    const prune = args.prune ? await pruneOf(ctx, args.to, args.maxObjects, attempted) : null;
    if (!args.prune && args.maxObjects !== undefined)
      throw new Failure('usage.invalid-value', { attempted, reason: '`--max-objects` is for `--prune`' });
    const data: Data = {
      id: current?.id ?? null,
      to: { due, expression, timeZone, line: inner.line },
      prune: prune === null ? null : { line: prune.inner.line, maxObjects: prune.maxObjects },
    };
    return {
      targets: [{ id: `schedule ${nightly}` }, ...(prune === null ? [] : [{ id: `schedule ${pruning}` }])],
      changes: [
        ...(current === null ? [] : [['no longer ', current.due, ` (${current.timeZone}): `, { command: current.line }] satisfies Line]),
        [`back up ${due} (${timeZone}): `, { command: inner.line }],
        ...(prune === null ? [] : [pruneLine(prune.inner.line, prune.maxObjects)]),
      ],
      preview: [
        ...inner.changes.map((change): Line => ['each time: ', ...change]),
        ...(prune?.inner.changes ?? []).map((change): Line => ['then, as of now: ', ...change]),
        [`first at ${showTime(first, timeZone)}`],
      ],
      ...(prune === null
        ? {}
        : { grants: 'backup', raise: { tier: prune.inner.tier, reason: `it lets \`${pruneCommand}\` run, which is ${prune.inner.tier}` } }),
      undo: current === null ? 'backup schedule --remove' : wordsOf(ctx, current),
      data,
    };
  },

  run(ctx, { id, to, prune }: Data, jobId) {
    const { requester, schedules } = ctx;
    if (to === null) {
      if (id !== null) schedules.remove(id, actorOf(ctx));
      return Promise.resolve({});
    }
    const common = { requester: requester.kind === 'shell' ? requester : { ...requester }, catchUp: 'one' as const, jitter: 0 };
    schedules.together(() => {
      if (id === null) schedules.add({ ...common, ...to, name: nightly, command: createCommand, tier: 'change' });
      else schedules.change(id, { ...to, requester: common.requester });
      const made = nightlyOf(ctx);
      if (prune === null || made === null) return;
      const before = schedules.find(pruning);
      if (before !== null) schedules.remove(before.id, actorOf(ctx));
      schedules.add(
        { ...common, ...to, due: `after ${nightly}`, line: prune.line, name: pruning, command: pruneCommand, tier: 'destructive' },
        { maxObjects: prune.maxObjects, jobId },
        made.id,
      );
    });
    return Promise.resolve({});
  },

  readBack(ctx, { to, prune }) {
    const now = nightlyOf(ctx);
    const isThere =
      to === null ? now === null : now !== null && now.expression === to.expression && now.timeZone === to.timeZone && now.line === to.line;
    const follows = prune === null || (now !== null && ctx.schedules.followers(now).some(({ line }) => line === prune.line));
    return Promise.resolve(isThere && follows ? shownOf(ctx, now) : null);
  },

  reply: (result, _data, ctx) =>
    result.due === null
      ? [text('Backups are scheduled no more.')]
      : [text({ strong: 'Backups are scheduled.' }), ...scheduleParts(result, ctx)],
});

export const backupScheduleShow = defineRead({
  name: 'backup schedule show',
  summary: 'Show when backups are made by themselves, how the last one ended, and what a restore would come to.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: shape.extend({
    lastDue: z.string().nullable(),
    lastOutcome: z.string().nullable(),
    lastFailure: z.string().nullable(),
    outlook: z.string(),
  }),
  examples: ['backup schedule', 'backup schedule show'],

  read(ctx) {
    const now = nightlyOf(ctx);
    const last = now === null ? null : ctx.schedules.lastRun(now);
    return Promise.resolve({
      ...shownOf(ctx, now),
      lastDue: last === null ? null : new Date(last.dueAt).toISOString(),
      lastOutcome: last?.outcome ?? null,
      lastFailure: last?.failure ?? null,
      outlook: outlookText(ctx.backupReports.outlook()),
    });
  },

  reply: (result, _args, ctx): Part[] => [
    ...(result.due === null
      ? [text('Backups are not scheduled. ', { command: 'backup schedule 02:30' }, ' makes one every night.')]
      : [text({ strong: 'Backups' }), ...scheduleParts(result, ctx)]),
    ...(result.lastDue === null
      ? []
      : [
          text(
            'Last run: ',
            { time: Date.parse(result.lastDue) },
            `, ${result.lastOutcome ?? ''}${result.lastFailure === null ? '' : ` (${result.lastFailure})`}.`,
          ),
        ]),
    text({ strong: result.outlook }),
  ],
});

/** The schedule of the name that this command keeps. @throws Failure `schedule.exists` where it is another command's */
function nightlyOf({ schedules }: CommandContext): Schedule | null {
  const found = schedules.find(nightly);
  if (found !== null && found.command !== createCommand)
    throw new Failure('schedule.exists', {
      attempted: 'schedule backups',
      reason: `the schedule \`${nightly}\` runs \`${found.command}\``,
    });
  return found;
}

function shownOf(ctx: CommandContext, schedule: Schedule | null): Shown {
  const next = schedule === null ? null : ctx.schedules.nextRun(schedule);
  const [prune] = schedule === null ? [] : ctx.schedules.followers(schedule);
  const standing = prune === undefined ? null : ctx.standing.of(prune.id);
  return {
    due: schedule?.due ?? null,
    timeZone: schedule?.timeZone ?? null,
    command: schedule?.line ?? null,
    nextRun: next === null ? null : new Date(next).toISOString(),
    prune: prune?.line ?? null,
    approvedBy: standing === null ? [] : giversOf(standing),
    approvedUntil: standing === null ? null : new Date(standing.until).toISOString(),
    maxObjects: standing?.maxObjects ?? null,
  };
}

function scheduleParts(shown: Shown, ctx: CommandContext): Part[] {
  const { due, timeZone, command, nextRun, prune, approvedBy, approvedUntil, maxObjects } = shown;
  const next = nextLine({ nextRun, timeZone: timeZone ?? ctx.config.timeZone });
  return [
    fields(
      ['runs', [{ command: command ?? '' }]],
      ['when', [`${due ?? ''} (${timeZone ?? ''})`]],
      ['next', [next]],
      ['then', prune === null ? undefined : [{ command: prune }]],
    ),
    ...(prune === null ? [] : [approvedPart({ approvedBy, approvedUntil }, maxObjects ?? 0, ctx.config.timeZone)]),
    ...(ctx.schedules.run ? [] : [text('It runs as soon as the daemon does: ', { code: 'steward run' }, '.')]),
  ];
}

function removal(ctx: CommandContext, args: { when?: string | undefined }, current: Schedule | null) {
  const attempted = 'schedule no backups';
  if (args.when !== undefined) throw new Failure('usage.extra-argument', { attempted, reason: '`--remove` takes no time' });
  if (current === null) throw new Failure('schedule.not-found', { attempted, reason: 'backups are not scheduled' });
  const followers = ctx.schedules.followers(current);
  const data: Data = { id: current.id, to: null, prune: null };
  return {
    targets: [current, ...followers].map(({ name }) => ({ id: `schedule ${name}` })),
    changes: [current, ...followers].map(({ line, due, timeZone }): Line => ['run no more: ', { command: line }, ` (${due}, ${timeZone})`]),
    undo: wordsOf(ctx, current),
    data,
  };
}

/** The command that makes it as it is now. */
function wordsOf(ctx: CommandContext, current: Schedule): string {
  const [prune] = ctx.schedules.followers(current);
  const bound = prune === undefined ? null : (ctx.standing.of(prune.id)?.maxObjects ?? null);
  const to = /--to=(\S+)/.exec(current.line)?.[0];
  return [
    ...['backup schedule', quote(current.due), current.timeZone],
    ...(to === undefined ? [] : [to]),
    ...(prune === undefined ? [] : ['--prune']),
    ...(bound === null ? [] : [`--max-objects=${bound}`]),
  ].join(' ');
}

/** The pruning as it would be now; before the first backup there is nothing to be pruned. */
async function pruneOf(
  ctx: CommandContext,
  to: string | undefined,
  given: number | undefined,
  attempted: string,
): Promise<{ inner: Pick<Inner, 'line' | 'tier' | 'changes'>; maxObjects: number }> {
  const line = lineOf(pruneCommand, 'from', to);
  const command = ctx.registry.find(pruneCommand);
  if (command === undefined) throw new TypeError(`there is no ${pruneCommand}`);
  const none = { command, line, tier: 'destructive' as const, objects: 0, changes: [] };
  const inner = await readInner(ctx, line, attempted).catch((error: unknown) => {
    if (asFailure(error).id !== 'backup.not-found') throw error;
    return none;
  });
  return { inner, maxObjects: boundOf(ctx, inner, given, attempted) ?? 0 };
}

function pruneLine(line: string, maxObjects: number): Line {
  return [
    'after each good one ',
    { command: line },
    `, without being asked again: for ${duration(standingFor)} from the approval, at most ${maxObjects} ${maxObjects === 1 ? 'backup' : 'backups'} a run; what is more is asked for`,
  ];
}

function lineOf(command: string, option: string, value: string | undefined): string {
  return value === undefined ? command : `${command} --${option}=${value}`;
}

function actorOf({ requester, message }: CommandContext): AuditActor {
  return requester.kind === 'shell' ? requester : { ...requester, trust: message?.trust ?? { kind: 'plain' } };
}
