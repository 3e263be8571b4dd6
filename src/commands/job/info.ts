import { z } from 'zod';
import { fields, list, text, type Line } from '../../reply/parts.ts';
import { defineRead } from '../define.ts';
import { askedBy, existingJob, jobArgument, timeOf } from './shared.ts';

export const jobInfo = defineRead({
  name: 'job info',
  summary: 'Show a job: who asked, what it changes, how each step ended.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({ job: jobArgument }),
  result: z.object({
    id: z.string(),
    command: z.string(),
    state: z.string(),
    tier: z.string(),
    by: z.string(),
    planHash: z.string(),
    createdAt: z.string(),
    startedAt: z.string().nullable(),
    finishedAt: z.string().nullable(),
    undoneBy: z.string().nullable(),
    steps: z.array(
      z.object({ targets: z.array(z.string()), state: z.string(), failure: z.string().nullable(), problem: z.string().nullable() }),
    ),
  }),
  examples: ['job info k7m2xq9d4a'],

  read: (ctx, args) => {
    const job = existingJob(ctx, args.job, `show the job ${args.job}`);
    return Promise.resolve({
      id: job.id,
      command: job.command,
      state: job.state,
      tier: job.tier,
      by: askedBy(job),
      planHash: job.planHash,
      createdAt: new Date(job.createdAt).toISOString(),
      startedAt: timeOf(job.startedAt),
      finishedAt: timeOf(job.finishedAt),
      undoneBy: job.undoneBy,
      steps: ctx.jobs.steps(job.id).map((step) => ({
        targets: job.plan.items[step.n]?.targets.map(({ id }) => id) ?? [],
        state: step.state,
        failure: step.failure?.id ?? null,
        problem: step.failure?.reason ?? null,
      })),
    });
  },

  reply: (job) => [
    text({ strong: job.command }, ` is ${job.state}.`),
    fields(
      ['job', [{ code: job.id }]],
      ['asked by', [job.by]],
      ['asked', [{ time: Date.parse(job.createdAt) }]],
      ['started', job.startedAt === null ? undefined : [{ time: Date.parse(job.startedAt) }]],
      ['ended', job.finishedAt === null ? undefined : [{ time: Date.parse(job.finishedAt) }]],
      ['undone by', job.undoneBy === null ? undefined : [{ code: job.undoneBy }]],
      ['tier', [job.tier]],
    ),
    list(
      job.steps.map((step): Line => [
        ...step.targets.flatMap((id, n) => (n === 0 ? [{ id }] : [', ', { id }])),
        `: ${step.state}`,
        ...(step.failure === null ? [] : [`: ${step.problem ?? ''} (${step.failure})`]),
      ]),
    ),
    text('All of it: ', { command: `audit list --job=${job.id}` }),
  ],
});
