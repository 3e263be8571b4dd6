import { z } from 'zod';
import { table, text, type Line } from '../../reply/parts.ts';
import { jobStates } from '../../store/jobs.ts';
import type { Job } from '../../workflow/job.ts';
import { countArgument } from '../arguments.ts';
import { defineList } from '../define.ts';
import { askedBy, timeOf } from './shared.ts';

const row = z.object({
  id: z.string(),
  command: z.string(),
  state: z.string(),
  tier: z.string(),
  by: z.string(),
  targets: z.array(z.string()),
  createdAt: z.string(),
  finishedAt: z.string().nullable(),
});

/** Jobs that are read at once for a file. */
const largePage = 500;

export const jobList = defineList({
  name: 'job list',
  summary: 'Show the changes that were asked for, newest first, and how each stands.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({
    state: z
      .enum(jobStates, `one of ${jobStates.join(', ')}`)
      .optional()
      .describe('Jobs in this state.')
      .meta({ value: 'STATE' }),
    limit: countArgument(1, 500).prefault('20').describe('Rows on a page.').meta({ value: 'N' }),
    from: countArgument(0, 999_999_999).prefault('0').describe('Where the page starts.').meta({ value: 'N' }),
  }),
  result: row,
  examples: ['job list', 'job list --state running', 'job list --csv'],

  async *list(ctx, { state, limit, from }, all) {
    const size = all ? largePage : limit;
    for (let at = from; ; at += size) {
      const jobs = await Promise.resolve(ctx.jobs.newest(state ?? null, at, size));
      const next = jobs.length < size ? null : String(at + size);
      yield { rows: jobs.map(rowOf), next };
      if (!all || next === null) return;
    }
  },

  reply: (page, { state, limit }) =>
    page.rows.length === 0
      ? [text('No such jobs.')]
      : [
          table(
            [{ title: 'Job' }, { title: 'Is' }, { title: 'What' }],
            page.rows.map((job): Line[] => [
              [{ code: job.id }],
              [job.state],
              [`${job.command} by ${job.by}, `, { time: Date.parse(job.createdAt) }],
            ]),
          ),
          ...(page.next == null
            ? []
            : [
                text(
                  'More with ',
                  { command: `job list${state === undefined ? '' : ` --state=${state}`} --limit=${limit} --from=${page.next}` },
                  '.',
                ),
              ]),
        ],
});

function rowOf(job: Job): z.input<typeof row> {
  return {
    id: job.id,
    command: job.command,
    state: job.state,
    tier: job.tier,
    by: askedBy(job),
    targets: job.plan.items.flatMap((item) => item.targets.map(({ id }) => id)),
    createdAt: new Date(job.createdAt).toISOString(),
    finishedAt: timeOf(job.finishedAt),
  };
}
