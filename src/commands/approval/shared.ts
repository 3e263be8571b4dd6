import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text, type Line, type Part } from '../../reply/parts.ts';
import type { Job } from '../../workflow/job.ts';
import type { CommandContext } from '../context.ts';

/** What the commands on requests share. */

export const requestArgument = (description: string) =>
  z.string().min(1, 'not empty').max(300, 'at most 300 characters').describe(description).meta({ positional: 0, value: 'REQUEST' });

export const decisionResult = z.object({
  jobId: z.string(),
  command: z.string(),
  outcome: z.enum(['approved', 'counted', 'vetoed', 'ended', 'asked-again', 'revoked']),
  /** How many more persons must approve. */
  missing: z.number(),
});
export type DecisionResult = z.input<typeof decisionResult>;

/**
 * Takes the decision of the person who typed a command.
 *
 * @throws Failure of whatever speaks against it
 */
export function decide(ctx: CommandContext, typed: string, verdict: 'approve' | 'veto'): DecisionResult {
  const { approvals, message, requester } = ctx;
  if (requester.kind === 'shell' || message === null) {
    const attempted = `${verdict} \`${typed}\``;
    if (verdict === 'approve') throw new Failure('approval.shell', { attempted });
    const { job } = approvals.find(typed, 'shell');
    if (ctx.standing.revoke(job.id, { kind: 'shell' }) !== null) return revoked(job);
    if (!approvals.takeBack(job.id)) throw new Failure('approval.not-waiting', { attempted, reason: `it is ${job.state} already` });
    return { jobId: job.id, command: job.command, outcome: 'vetoed', missing: 0 };
  }
  const { job, by } = approvals.find(typed, requester.person);
  const result = { jobId: job.id, command: job.command, missing: 0 };
  if (verdict === 'approve' && message.caughtUp && job.state === 'pending') {
    approvals.askAgain(job.id);
    return { ...result, outcome: 'asked-again' };
  }
  const { person, userId } = requester;
  // What it has approved beforehand is taken back; the rest of it is done.
  if (verdict === 'veto' && ctx.standing.revoke(job.id, { kind: 'person', person, userId, trust: message.trust }) !== null)
    return revoked(job);
  const outcome = approvals.decide(job.id, { eventId: message.eventId, person, userId, trust: message.trust, verdict, by });
  if (outcome.kind === 'refused') throw outcome.failure;
  if (outcome.kind === 'counted') return { ...result, outcome: 'counted', missing: outcome.missing };
  if (outcome.kind === 'approved') return { ...result, outcome: 'approved' };
  return { ...result, outcome: outcome.job.state === 'vetoed' && verdict === 'veto' ? 'vetoed' : 'ended' };
}

function revoked({ id, command }: Job): DecisionResult {
  return { jobId: id, command, outcome: 'revoked', missing: 0 };
}

export function decisionParts({ command, jobId, outcome, missing }: DecisionResult): Part[] {
  const about: Line = [{ code: command }, ' (', { code: jobId }, ')'];
  switch (outcome) {
    case 'approved':
      return [text('Approved: ', ...about, '.')];
    case 'counted':
      return [text('Approved: ', ...about, `. ${missing} more must approve.`)];
    case 'vetoed':
      return [text('Refused: ', ...about, '.')];
    case 'revoked':
      return [text('The standing approval is taken back: ', ...about, '. Each run is asked for from now on.')];
    case 'ended':
      return [text('It waits no more: ', ...about, '.')];
    case 'asked-again':
      return [text('That came while I was away. Please look at it again: ', ...about, '.')];
  }
}

/** The ids of what a job acts on, with the names they had. */
export function targetsOf(job: Job): { id: string; name: string | null }[] {
  return job.plan.items.flatMap(({ targets }) => targets.map(({ id, name }) => ({ id, name: name ?? null })));
}
