import type { Config } from '../config/schema.ts';
import { list, text, type Inline, type Line, type Part } from '../reply/parts.ts';
import type { Reply } from '../reply/reply.ts';
import { showDuration } from '../reply/time.ts';
import type { ApprovalRecord } from '../store/approvals.ts';
import type { Job } from '../workflow/job.ts';
import type { Plan } from '../workflow/plan.ts';

/** Changes of one target that are told in one line. */
const inARow = 3;

/** What a plan will do, a line for each target, and what of it is for good. */
export function planParts(plan: Plan): Part[] {
  const [only] = plan.items;
  // A line for each target; of one with many changes a line for each, as nobody reads them in a row.
  const lines =
    plan.items.length === 1 && only !== undefined && only.changes.length > inARow
      ? only.changes
      : plan.items.map((item): Line => item.changes.flatMap((change, at): Inline[] => (at === 0 ? [...change] : [', ', ...change])));
  const preview = plan.items.flatMap((item) => item.preview ?? []);
  const permanent = plan.items.flatMap((item) => item.permanent ?? []);
  return [
    ...(plan.items.length > 1 ? [text({ strong: `${plan.items.length} targets:` })] : []),
    list(lines),
    ...(preview.length === 0 ? [] : [text('As it stands now:'), list(preview)]),
    ...(permanent.length === 0 ? [] : [text({ strong: 'Cannot be undone:' }), list(permanent)]),
    text(`Tier: ${plan.tier}${plan.reasons.length === 0 ? '' : `, because ${plan.reasons.join(' and ')}`}.`),
  ];
}

/** The question of a job: who asked, what will change, what cannot be undone, until when, how to approve and to refuse. */
export function promptReply(config: Config, job: Job, approval: ApprovalRecord, approvers: readonly string[], now: number): Reply {
  const own = approval.approver === 'requester';
  const title = own ? (approval.way === 'confirm' ? 'Please confirm:' : 'Please approve:') : 'Approval needed:';
  const again = approval.round === 0 ? [] : [text('Please confirm again: what you said came while I was away.')];
  return {
    command: job.command,
    outcome: 'waiting',
    jobId: job.id,
    parts: [
      text({ strong: title }, ` ${job.command}`),
      ...again,
      ...(own && job.requester.kind === 'shell' ? [] : [askedBy(job)]),
      ...beyondParts(job),
      ...planParts(job.plan),
      ...howParts(job, approval, approvers, now),
    ],
    mentions: mentionsOf(config, job, approval, approvers),
  };
}

/** Who asked, as every text on a request says it. */
export function askedBy(job: Job): Part {
  if (job.requester.kind === 'shell') return text('Asked in the shell of the host, which names no person.');
  return text('Asked by ', { strong: job.requester.person }, ' (', { id: job.requester.userId }, ').');
}

/** Why a run of a schedule waits for somebody. */
function beyondParts({ origin }: Job): Part[] {
  if (origin.kind !== 'schedule' || origin.beyond === undefined) return [];
  return [text('A run of the schedule ', { strong: origin.name }, ` that its standing approval does not cover: ${origin.beyond}.`)];
}

function howParts(job: Job, approval: ApprovalRecord, approvers: readonly string[], now: number): Part[] {
  const { way, typed, persons, countdown } = approval;
  const until: Line = job.expiresAt === null ? [] : [`, within ${showDuration(job.expiresAt - now)} (until `, { time: job.expiresAt }, ')'];
  // The terminal asks its question itself.
  if (approval.place === 'terminal') return countdown === 0 ? [] : [text(`It runs ${showDuration(countdown)} after that.`)];
  const whom =
    approval.approver === 'requester'
      ? ''
      : persons === 1
        ? ` ${orList(approvers)}:`
        : ` ${persons} different persons of ${approvers.join(', ')}:`;
  const how: Line =
    way === 'confirm'
      ? ['React ✅ to run it, ❌ to leave it', ...until, '.']
      : way === 'reaction'
        ? [`${whom.trim()} react ✅ to approve, ❌ to refuse`, ...until, '.']
        : [`${whom} type `.trimStart(), { command: `approve ${typed ?? ''}` }, ' to approve, ❌ to refuse', ...until, '.'];
  return [
    text(...how),
    ...(countdown === 0 ? [] : [text(`After that it can be vetoed for ${showDuration(countdown)}, and then it runs.`)]),
    ...(way === 'confirm'
      ? []
      : [text('Or refuse with ', { command: `veto ${job.id}` }, '; all of it: ', { command: `approval info ${job.id}` }, '.')]),
  ];
}

function orList(names: readonly string[]): string {
  return names.length < 3 ? names.join(' or ') : `${names.slice(0, -1).join(', ')} or ${names.at(-1) ?? ''}`;
}

function mentionsOf(config: Config, job: Job, approval: ApprovalRecord, approvers: readonly string[]): string[] {
  if (approval.approver === 'requester') return job.requester.kind === 'person' ? [job.requester.userId] : [];
  return approvers.flatMap((person) => config.people[person]?.userIds ?? []);
}
