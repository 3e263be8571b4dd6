import { z } from 'zod';
import { table, text, type Line } from '../../reply/parts.ts';
import { showTime } from '../../reply/time.ts';
import type { Schedule } from '../../workflow/schedule/schedule.ts';
import { duration } from '../../workflow/schedule/scheduler.ts';
import { giversOf } from '../../workflow/standing.ts';
import type { CommandContext } from '../context.ts';
import { defineList } from '../define.ts';

/** A run is not late before this, in milliseconds: it may just be beginning. */
const late = 60_000;

const row = z.object({
  name: z.string(),
  due: z.string(),
  timeZone: z.string(),
  command: z.string(),
  tier: z.string(),
  /** The person it runs as, or null for the shell. */
  person: z.string().nullable(),
  catchUp: z.string(),
  jitterSeconds: z.number(),
  pausedAt: z.string().nullable(),
  pausedReason: z.string().nullable(),
  /** Past where it is late. */
  nextRun: z.string().nullable(),
  lateSeconds: z.number(),
  lastDue: z.string().nullable(),
  lastOutcome: z.string().nullable(),
  lastFailure: z.string().nullable(),
  lastSuccess: z.string().nullable(),
  /** Who has approved its runs beforehand; nobody where they need no approval, or where each is asked for. */
  approvedBy: z.array(z.string()),
  approvedUntil: z.string().nullable(),
  /** Objects a run that the approval covers, and how many runs it has covered. */
  maxObjects: z.number().nullable(),
  approvedRuns: z.number().nullable(),
});
type Row = z.output<typeof row>;

export const scheduleList = defineList({
  name: 'schedule list',
  summary: 'List the schedules: when each runs next, how the last run ended, who has approved it, and what is late or paused.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: row,
  examples: ['schedule list', 'schedule list --json'],

  // eslint-disable-next-line @typescript-eslint/require-await -- a list is a stream of pages, and this one needs no waiting
  async *list(ctx) {
    const rows = ctx.schedules.all().map((schedule) => rowOf(ctx, schedule));
    yield { rows, total: rows.length };
  },

  reply: (page) => {
    if (page.rows.length === 0) return [text('There are no schedules. ', { command: 'help schedule add' }, ' says how to make one.')];
    return [
      text({ strong: 'Schedules' }, `: ${page.rows.length}`),
      table(
        [{ title: 'Name' }, { title: 'Runs' }, { title: 'When' }, { title: 'Next' }, { title: 'Last' }],
        page.rows.map((schedule): Line[] => [
          [{ strong: schedule.name }],
          [{ command: schedule.command }],
          [`${schedule.due} (${schedule.timeZone})${schedule.person === null ? '' : `, as ${schedule.person}`}${approvalOf(schedule)}`],
          [nextOf(schedule)],
          [lastOf(schedule)],
        ]),
      ),
    ];
  },
});

function rowOf(ctx: CommandContext, schedule: Schedule): Row {
  const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
  const next = ctx.schedules.nextRun(schedule);
  const last = ctx.schedules.lastRun(schedule);
  const standing = ctx.standing.of(schedule.id);
  const behind = next === null ? 0 : ctx.clock.now() - next;
  return {
    name: schedule.name,
    due: schedule.due,
    timeZone: schedule.timeZone,
    command: schedule.line,
    tier: schedule.tier,
    person: schedule.requester.kind === 'person' ? schedule.requester.person : null,
    catchUp: schedule.catchUp,
    jitterSeconds: schedule.jitter / 1000,
    pausedAt: iso(schedule.pausedAt),
    pausedReason: schedule.pausedReason,
    nextRun: iso(next),
    lateSeconds: behind > late ? Math.round(behind / 1000) : 0,
    lastDue: iso(last?.dueAt ?? null),
    lastOutcome: last?.outcome ?? null,
    lastFailure: last?.failure ?? null,
    lastSuccess: iso(schedule.lastSuccess),
    approvedBy: standing === null ? [] : giversOf(standing),
    approvedUntil: iso(standing?.until ?? null),
    maxObjects: standing?.maxObjects ?? null,
    approvedRuns: standing?.uses ?? null,
  };
}

/** By whose approval a run of what is destructive needs nobody. */
function approvalOf({ approvedBy, approvedUntil, maxObjects, tier, timeZone }: Row): string {
  if (approvedUntil !== null)
    return `, approved by ${approvedBy.join(' and ')} until ${showTime(Date.parse(approvedUntil), timeZone)}, at most ${maxObjects ?? 0} objects a run`;
  return tier === 'destructive' ? ', each run is asked for' : '';
}

function nextOf(schedule: Row): string {
  if (schedule.nextRun === null) return schedule.pausedReason === null ? '⏸ paused' : `⏸ paused: ${schedule.pausedReason}`;
  const at = showTime(Date.parse(schedule.nextRun), schedule.timeZone);
  return schedule.lateSeconds > 0 ? `⚠️ late by ${duration(schedule.lateSeconds * 1000)}, due ${at}` : `next ${at}`;
}

const marks: Record<string, string> = { done: '✅', failed: '❌', running: '⏳', held: '⏸', skipped: '⏭', missed: '❌' };

function lastOf(schedule: Row): string {
  if (schedule.lastDue === null || schedule.lastOutcome === null) return 'never run';
  const failure = schedule.lastFailure === null ? '' : ` (${schedule.lastFailure})`;
  const at = showTime(Date.parse(schedule.lastDue), schedule.timeZone);
  const success =
    schedule.lastOutcome === 'done' || schedule.lastSuccess === null
      ? ''
      : `, last success ${showTime(Date.parse(schedule.lastSuccess), schedule.timeZone)}`;
  return `last ${at} ${marks[schedule.lastOutcome] ?? ''} ${schedule.lastOutcome}${failure}${success}`;
}
