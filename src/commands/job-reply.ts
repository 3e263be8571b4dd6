import { Failure } from '../failures/failure.ts';
import type { FailureId } from '../failures/table.ts';
import { code, list, text, type Line, type Part } from '../reply/parts.ts';
import { failureReply, type Outcome, type Reply } from '../reply/reply.ts';
import { showDuration } from '../reply/time.ts';
import type { JobState, StepRecord } from '../store/jobs.ts';
import { ruleOf } from '../workflow/approval.ts';
import { standingOf, type SettledJob } from '../workflow/job.ts';
import type { CommandContext } from './context.ts';
import type { WriteCommand } from './define.ts';

const outcomes: Partial<Record<JobState, Outcome>> = { done: 'done', failed: 'failed', unknown: 'unknown' };

/** What a job that has ended tells the person who asked. */
export function jobReply(ctx: CommandContext, job: SettledJob): Reply {
  const command = ctx.registry.find(job.command) as WriteCommand;
  const unrun = whyNotRun(job);
  if (unrun !== null) {
    const reply = failureReply(unrun, job.command, { jobId: job.id });
    return { ...reply, parts: [...reply.parts, ...differenceParts(job)] };
  }
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
    parts: [...command.reply(step.result, job.plan.items[0]?.data, ctx), ...undoParts(ctx, job), ...approvedBy(job)],
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
    parts: [text({ strong: job.command }, `: ${done} of ${job.steps.length} done.`), list(lines), ...approvedBy(job)],
    ...(first == null ? {} : { errorId: first.id }),
  };
}

function undoParts(ctx: CommandContext, job: SettledJob): Part[] {
  if (job.undo === null || job.state !== 'done') return [];
  const words = job.undo.split(' ');
  const tier = ctx.registry.match(words)?.command.tier;
  const note = tier === 'destructive' || tier === 'catastrophic' ? ` (${ruleOf(ctx.config.approval.mode, tier).words})` : '';
  return [text('undo: ', { command: job.undo }, note)];
}

/** Why a job never ran, or null where it did. */
function whyNotRun(job: SettledJob): Failure | null {
  const attempted = `run \`${job.command}\``;
  const { ending } = job;
  switch (job.state) {
    case 'vetoed':
      if (ending?.kind === 'role-lost')
        return new Failure('access.role-lost', { attempted, reason: `${ending.person} has no role for it any more` });
      if (ending?.kind === 'standing-ended') return new Failure('access.needs-approval', { attempted, reason: ending.reason });
      if (ending?.kind !== 'vetoed' || ending.person === null) return new Failure('access.declined', { attempted });
      return job.requester.kind === 'person' && job.requester.person === ending.person
        ? new Failure('access.declined', { attempted })
        : new Failure('approval.vetoed', { attempted, reason: `${ending.person} refused it` });
    case 'superseded':
      return new Failure('access.superseded', { attempted });
    case 'expired':
      return new Failure('access.expired', {
        attempted,
        ...(job.approvedAt === null ? expiry(job) : { reason: 'it was approved, and could not begin in time' }),
      });
    case 'plan-changed':
      return new Failure('access.plan-changed', { attempted });
    case 'cancelled':
      return job.startedAt === null ? new Failure('job.cancelled', { attempted }) : null;
    case 'pending':
    case 'approved':
    case 'running':
    case 'done':
    case 'failed':
    case 'unknown':
      return null;
  }
}

function expiry(job: SettledJob): { reason: string; hint: string } {
  const within = showDuration((job.expiresAt ?? job.createdAt) - job.createdAt);
  return { reason: `nobody approved it within ${within}`, hint: `Run the command again; it waits ${within}.` };
}

/** What is not as it was shown. */
function differenceParts({ ending }: SettledJob): Part[] {
  if (ending?.kind !== 'plan-changed') return [];
  const lines = [
    ...ending.was.map((line): Line => [{ strong: 'was: ' }, ...line]),
    ...ending.now.map((line): Line => [{ strong: 'now: ' }, ...line]),
  ];
  return [list(lines)];
}

/** Who let it run, where that was somebody else than the one who asked. */
function approvedBy(job: SettledJob): Part[] {
  if (job.ending?.kind === 'break-glass')
    return [text({ strong: 'Without an approval' }, `, by --break-glass in the shell: ${job.ending.reason}`)];
  const standing = standingOf(job);
  if (standing !== null)
    return [
      text(
        `by the standing approval of ${standing.by.join(' and ')}, given `,
        { time: standing.grantedAt },
        ', until ',
        { time: standing.until },
        ' (',
        { code: standing.jobId },
        ')',
      ),
    ];
  const approved = job.decisions.filter(({ verdict, person }) => verdict === 'approve' && !isRequester(job, person));
  if (approved.length === 0) return [];
  const asked = job.requester.kind === 'person' ? job.requester.person : 'the shell';
  return [text(`asked by ${asked}, approved by ${approved.map(({ person }) => person).join(' and ')}`)];
}

function isRequester({ requester }: SettledJob, person: string): boolean {
  return requester.kind === 'person' && requester.person === person;
}

function failureOf(failure: NonNullable<StepRecord['failure']>): Failure {
  return new Failure(failure.id as FailureId, {
    reason: failure.reason,
    hint: failure.hint,
    ...(failure.attempted === undefined ? {} : { attempted: failure.attempted }),
  });
}
