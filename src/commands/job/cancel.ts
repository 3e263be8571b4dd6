import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { askedBy, existingJob, jobArgument } from './shared.ts';

const open: readonly string[] = ['pending', 'approved', 'running'];

export const jobCancel = defineWrite({
  name: 'job cancel',
  summary: 'Cancel a job that waits or runs. A step that has begun ends; those after it are not begun.',
  tier: 'change',
  lock: 'none',
  always: true,
  bulk: false,
  args: z.strictObject({ job: jobArgument }),
  result: z.object({ id: z.string(), command: z.string(), state: z.string() }),
  examples: ['job cancel k7m2xq9d4a'],

  plan: (ctx, args) => {
    const attempted = `cancel the job ${args.job}`;
    const job = existingJob(ctx, args.job, attempted);
    if (!open.includes(job.state)) throw new Failure('job.ended', { attempted, reason: `it is ${job.state}` });
    return Promise.resolve({
      targets: [{ id: job.id }],
      changes: [[`cancel ${job.command} of ${askedBy(job)}, which is ${job.state === 'pending' ? 'waiting' : job.state}`]],
      data: { id: job.id },
    });
  },
  run: (ctx, { id }) => {
    if (!ctx.jobs.cancel(id))
      throw new Failure('job.unknown', {
        attempted: `cancel the job ${id}`,
        reason: 'the Steward that ran it was cut off, and nobody has looked since how far it came',
        hint: 'The daemon looks when it starts: `steward run`.',
      });
    return Promise.resolve({});
  },
  readBack: (ctx, { id }) => {
    const job = ctx.jobs.get(id);
    if (job === null || (open.includes(job.state) && !ctx.jobs.isCancelled(id))) return Promise.resolve(null);
    const state = ctx.jobs.isCancelledMeanwhile(id) ? 'cancelled as soon as the daemon runs' : job.state;
    return Promise.resolve({ id, command: job.command, state });
  },

  reply: (result) => [
    result.state === 'running'
      ? text('Cancelling ', { code: result.id }, `: ${result.command} stops after the step that is under way.`)
      : text({ code: result.id }, `, ${result.command}, is ${result.state}.`),
  ],
});
