import { Failure } from '../failures/failure.ts';
import type { FailureId } from '../failures/table.ts';
import { code, list, text, type Line, type Part } from '../reply/parts.ts';
import { failureReply, type Outcome, type Reply } from '../reply/reply.ts';
import type { JobState, StepRecord } from '../store/jobs.ts';
import type { SettledJob } from '../workflow/job.ts';
import type { CommandContext } from './context.ts';
import type { WriteCommand } from './define.ts';
import { leaveWords } from './leave.ts';

const outcomes: Partial<Record<JobState, Outcome>> = { done: 'done', failed: 'failed', unknown: 'unknown' };

/** What a job that has ended tells the person who asked. */
export function jobReply(ctx: CommandContext, job: SettledJob): Reply {
  const command = ctx.registry.find(job.command) as WriteCommand;
  if (job.state === 'vetoed')
    return failureReply(new Failure('access.declined', { attempted: `run \`${job.command}\`` }), job.command, { jobId: job.id });
  if (job.state === 'expired')
    return failureReply(new Failure('access.expired', { attempted: `run \`${job.command}\`` }), job.command, { jobId: job.id });
  if (job.state === 'plan-changed')
    return failureReply(new Failure('access.plan-changed', { attempted: `run \`${job.command}\`` }), job.command, { jobId: job.id });
  const reply = job.steps.length === 1 && job.steps[0] !== undefined ? single(ctx, command, job, job.steps[0]) : several(job);
  const wantsJson = job.origin.kind === 'room' && job.origin.json === true && job.state === 'done';
  const results = job.steps.map((step) => step.result);
  const json = code(JSON.stringify(results.length === 1 ? results[0] : results, null, 2));
  return { ...reply, jobId: job.id, ...(wantsJson ? { parts: [json] } : {}) };
}

function single(ctx: CommandContext, command: WriteCommand, job: SettledJob, step: StepRecord): Reply {
  if (step.failure !== null)
    return failureReply(failureOf(step.failure), job.command, { jobId: job.id, reference: step.failure.reference });
  return {
    command: job.command,
    outcome: outcomes[job.state] ?? 'failed',
    parts: [...command.reply(step.result, job.plan.items[0]?.data, ctx), ...undoParts(ctx, job)],
  };
}

function several(job: SettledJob): Reply {
  const done = job.steps.filter((step) => step.state === 'done').length;
  const lines = job.steps.map((step): Line => {
    const target = job.plan.items[step.n]?.targets[0];
    const label = target === undefined ? `item ${step.n + 1}` : { id: target.id, name: target.name };
    return step.failure === null ? ['✅ ', label] : ['❌ ', label, `: ${failureOf(step.failure).message}`];
  });
  const first = job.steps.find((step) => step.failure !== null)?.failure;
  return {
    command: job.command,
    outcome: outcomes[job.state] ?? 'failed',
    parts: [text({ strong: job.command }, `: ${done} of ${job.steps.length} done.`), list(lines)],
    ...(first == null ? {} : { errorId: first.id }),
  };
}

function undoParts(ctx: CommandContext, job: SettledJob): Part[] {
  if (job.undo === null || job.state !== 'done') return [];
  const words = job.undo.split(' ');
  const tier = ctx.registry.match(words)?.command.tier;
  const note = tier === 'destructive' || tier === 'catastrophic' ? ` (${leaveWords[tier]})` : '';
  return [text('undo: ', { command: job.undo }, note)];
}

function failureOf(failure: NonNullable<StepRecord['failure']>): Failure {
  return new Failure(failure.id as FailureId, {
    reason: failure.reason,
    hint: failure.hint,
    ...(failure.attempted === undefined ? {} : { attempted: failure.attempted }),
  });
}
