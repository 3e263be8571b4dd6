import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import type { Job } from '../../workflow/job.ts';
import type { CommandContext } from '../context.ts';

export const jobArgument = z
  .string()
  .regex(/^[a-z0-9]{10}$/, 'the id of a job, as `job list` shows it')
  .describe('The job.')
  .meta({ positional: 0, value: 'JOB' });

/** @throws Failure `job.not-found` */
export function existingJob(ctx: CommandContext, id: string, attempted: string): Job {
  const job = ctx.jobs.get(id);
  if (job === null) throw new Failure('job.not-found', { attempted });
  return job;
}

/** Who asked for it, as it is shown. */
export const askedBy = (job: Job): string => (job.requester.kind === 'person' ? job.requester.person : 'shell');

export const timeOf = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
