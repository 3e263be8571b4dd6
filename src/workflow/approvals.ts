import { timingSafeEqual } from 'node:crypto';
import type { Audit, AuditEntry, AuditEvent } from '../audit/audit.ts';
import type { Clock, Ids } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { Failure } from '../failures/failure.ts';
import type { ApprovalRecord, ApprovalStore } from '../store/approvals.ts';
import type { Decision, Decisions } from '../store/decisions.ts';
import { showTime } from '../reply/time.ts';
import type { Holds } from '../store/holds.ts';
import type { Trust } from '../store/inbox.ts';
import type { JobStore } from '../store/jobs.ts';
import type { Store } from '../store/store.ts';
import { ruleOf } from './approval.ts';
import { Attempts } from './attempts.ts';
import { asJob, type Ending, type Job } from './job.ts';
import type { Decider, Jobs } from './jobs.ts';
import type { Plan } from './plan.ts';
import { isOperator, mayApprove, mayRequest } from './roles.ts';
import type { Tier } from './tier.ts';

/** What somebody says to a request. */
export interface Vote {
  eventId: string;
  person: string;
  userId: string;
  trust: Trust;
  verdict: 'approve' | 'veto';
  /** By a reaction on the prompt, by what had to be typed, or by the job's id. */
  by: 'reaction' | 'typed' | 'id';
}

/** What a vote comes to. */
export type Verdict =
  /** It has all that it needs: start it. */
  | { kind: 'approved'; job: Job }
  /** It needs `missing` more persons. */
  | { kind: 'counted'; job: Job; missing: number }
  /** The job has ended: by this refusal, because its time was over, or because its requester may not ask for it any more. */
  | { kind: 'ended'; job: Job }
  | { kind: 'refused'; job: Job | null; failure: Failure };

export interface ApprovalsOptions {
  store: Store;
  audit: Audit;
  jobs: () => Jobs;
  rows: JobStore;
  approvals: ApprovalStore;
  decisions: Decisions;
  holds: Holds;
  clock: Clock;
  ids: Ids;
  config: () => Config;
  /** Whether the admin room is encrypted. */
  encrypted: () => boolean;
  /** Whether Steward is connected to the admin room. */
  isRoomHeard: () => boolean;
  /** Whether the cross-signing identity of a person is another than the one that is known. */
  identityChanged: (person: string) => boolean;
  /** The cross-signing identity that is known for an account, as `Trust` names one; null as long as none is. */
  knownIdentity: (userId: string) => string | null;
  /** Whether an event was taken back before anything came of it. */
  isRemoved: (eventId: string) => boolean;
  /** A job has all that it needs: it is to be started. */
  approved: (job: Job) => void;
}

/** Wrong codes that one person may type in this time. */
const mostWrongCodes = 5;
const wrongCodesWithin = 15 * 60_000;

/** Draws of a code; there are 256 to a plan's hash. */
const mostTries = 1000;

/** Who may give leave to whom, and what their words do to a job. All of it is in the store; a vote is one transaction. */
export class Approvals {
  readonly #options: ApprovalsOptions;
  readonly #attempts: Attempts;

  constructor(options: ApprovalsOptions) {
    this.#options = options;
    this.#attempts = new Attempts(mostWrongCodes, wrongCodesWithin, options.clock);
  }

  job(jobId: string): Job | null {
    return this.#options.jobs().get(jobId);
  }

  get(jobId: string): ApprovalRecord | null {
    return this.#options.approvals.get(jobId);
  }

  decisions(jobId: string): Decision[] {
    return this.#options.decisions.of(jobId).filter(({ withdrawnAt }) => withdrawnAt === null);
  }

  /** Jobs that wait for somebody, or count down; oldest first. */
  open(): Job[] {
    const { rows, approvals } = this.#options;
    return [...rows.inState('pending'), ...rows.inState('approved')].map(asJob).filter(({ id }) => approvals.get(id) !== null);
  }

  /** Until when a person may not approve (milliseconds since the epoch), or null. */
  heldUntil(person: string): number | null {
    return this.#options.holds.until(person, this.#options.clock.now());
  }

  /**
   * A code for a plan, `7F3A-91`: the start of its hash, and a part by chance that no open request has.
   *
   * @throws Failure `approval.too-many-requests` when none is found
   */
  newCode(planHash: string): string {
    const { approvals, ids } = this.#options;
    const head = planHash.slice(0, 4).toUpperCase();
    for (let tries = 0; tries < mostTries; tries += 1) {
      const code = `${head}-${ids.secret('0123456789ABCDEF', 2)}`;
      if (!approvals.candidates(code).some(({ typed }) => typed === code)) return code;
    }
    throw new Failure('approval.too-many-requests');
  }

  /** The persons who may approve a request of this kind now, but for the one who asked. */
  approvers(asked: { groups: readonly string[]; tier: Tier; requester: string | null; excluded: readonly string[] }): string[] {
    const config = this.#options.config();
    return Object.keys(config.people).filter(
      (person) =>
        person !== asked.requester &&
        !asked.excluded.includes(person) &&
        asked.groups.every((group) => mayApprove(config, person, group, asked.tier)) &&
        this.heldUntil(person) === null &&
        !this.#options.identityChanged(person),
    );
  }

  /** The persons who may give what a job waits for now. */
  approversOf(job: Job, approval: ApprovalRecord): string[] {
    const requester = job.requester.kind === 'person' ? job.requester.person : null;
    if (approval.approver === 'requester') return requester === null ? [] : [requester];
    return this.approvers({ groups: groupsOf(job.plan), tier: job.tier, requester, excluded: approval.excluded });
  }

  /**
   * The job that somebody means by a code, a target or a job's id.
   *
   * @throws Failure `approval.wrong-code`, `approval.too-many-attempts`
   */
  find(typed: string, person: string): { job: Job; by: 'typed' | 'id' } {
    if (this.#attempts.isExhausted(person)) throw new Failure('approval.too-many-attempts');
    const job = this.#options.jobs().get(typed.toLowerCase());
    if (job !== null && this.get(job.id) !== null) return { job, by: 'id' };
    const form = /^[0-9a-f]{4}-[0-9a-f]{2}$/i.test(typed) ? typed.toUpperCase() : typed;
    for (const approval of this.#options.approvals.candidates(form)) {
      const meant = this.#options.jobs().get(approval.jobId);
      if (meant === null || approval.typed === null || !isSame(approval.typed, form)) continue;
      // Two persons may have to type the same target.
      if (approval.way === 'target' && (meant.requester.kind !== 'person' || meant.requester.person !== person)) continue;
      return { job: meant, by: 'typed' };
    }
    this.#attempts.failed(person);
    throw new Failure('approval.wrong-code', { attempted: `find the request \`${typed.slice(0, 100)}\`` });
  }

  /** Takes what somebody says to a job, in one transaction. */
  decide(jobId: string, vote: Vote): Verdict {
    const { approved, clock, decisions, store } = this.#options;
    const jobs = this.#options.jobs();
    const verdict = store.transaction((): Verdict => {
      const [job, approval] = [jobs.get(jobId), this.get(jobId)];
      if (job === null || approval === null) return refused(job, new Failure('approval.not-waiting'));
      if (this.#options.isRemoved(vote.eventId)) return refused(job, new Failure('approval.taken-back'));
      const ended = (): Verdict => ({ kind: 'ended', job: jobs.get(jobId) ?? job });
      const said = { eventId: vote.eventId, jobId, person: vote.person, userId: vote.userId, trust: vote.trust, at: clock.now() };
      const by = deciderOf(vote);
      if (vote.verdict === 'veto') {
        const objection = this.#objectionToVeto(job, vote);
        if (objection !== null) return refused(job, objection);
        decisions.add({ ...said, verdict: 'veto' });
        return jobs.veto(jobId, by) ? ended() : refused(job, notWaiting(job));
      }
      if (job.state !== 'pending') return refused(job, notWaiting(job));
      if (job.expiresAt !== null && clock.now() > job.expiresAt) {
        jobs.end(jobId, 'pending', 'expired');
        return ended();
      }
      const lost = this.#lostRole(job);
      if (lost !== null) {
        jobs.end(jobId, 'pending', 'vetoed', lost);
        return ended();
      }
      const objection = this.#objection(job, approval, vote);
      if (objection !== null) return refused(job, objection);
      decisions.add({ ...said, verdict: 'approve' });
      const missing = approval.persons - this.#counted(job, approval).length;
      if (missing > 0) {
        this.#record('job.counted', job, { ...by, detail: { missing } });
        return { kind: 'counted', job, missing };
      }
      return jobs.approve(jobId, by) ? { kind: 'approved', job: jobs.get(jobId) ?? job } : refused(job, notWaiting(job));
    });
    if (verdict.kind === 'approved') approved(verdict.job);
    return verdict;
  }

  /**
   * Somebody took a reaction or a typed approval back. Before the run this takes the approval away.
   *
   * @returns the job and whether it was in time; null when the event was no approval
   */
  withdraw(eventId: string): { job: Job; inTime: boolean } | null {
    const { clock, decisions, store } = this.#options;
    const jobs = this.#options.jobs();
    return store.transaction(() => {
      const decision = decisions.find(eventId);
      if (decision === null || decision.verdict !== 'approve' || decision.withdrawnAt !== null) return null;
      const job = jobs.get(decision.jobId);
      if (job === null) return null;
      if (job.state !== 'pending' && !jobs.sendBack(job.id)) return { job, inTime: false };
      decisions.withdraw(eventId, clock.now());
      const { person, userId, trust } = decision;
      this.#record('job.withdrawn', job, { actor: { kind: 'person', person, userId, trust }, eventId });
      return { job, inTime: true };
    });
  }

  /** What the terminal approved is told where the tier asks for it. */
  announce(jobId: string): void {
    const job = this.job(jobId);
    if (job !== null) this.#options.approved(job);
  }

  /** Takes a request of the shell back, by whoever owns the shell. @returns false when it runs or has ended */
  takeBack(jobId: string): boolean {
    return this.#options.jobs().veto(jobId);
  }

  /** Shows a request once more: what was said to it came while Steward was away. */
  askAgain(jobId: string): void {
    this.#options.store.transaction(() => {
      this.#options.jobs().askAgain(jobId);
    });
  }

  /** After a change of roles: what their requesters may not ask for any more ends, and approvals of those who may not approve any more count no longer. */
  review(): void {
    const jobs = this.#options.jobs();
    for (const job of this.open()) {
      const lost = this.#lostRole(job);
      if (lost !== null && job.state === 'pending') jobs.end(job.id, 'pending', 'vetoed', lost);
      if (lost !== null && job.state === 'approved') jobs.end(job.id, 'approved', 'vetoed', lost);
    }
  }

  /** Why an approved job must not run any more, or null. Asked in the transaction in which it would begin to. */
  objection(job: Job): Ending | null {
    const approval = this.get(job.id);
    const lost = this.#lostRole(job);
    if (lost !== null || approval === null || approval.place === 'terminal') return lost;
    const gone = this.decisions(job.id).find(({ person, verdict }) => verdict === 'approve' && !this.#mayGive(job, approval, person));
    return gone === undefined ? null : { kind: 'role-lost', person: gone.person };
  }

  /** Whether a refusal of a job is heard now: in the terminal always, in the room as long as Steward is connected. */
  isVetoHeard(job: Job): boolean {
    return this.get(job.id)?.place !== 'room' || this.#options.isRoomHeard();
  }

  /** From the moment when a job begins to run, whoever it can give control over is out of approving. */
  hold(job: Job): void {
    const { clock, config, holds } = this.#options;
    for (const { controls } of job.plan.items)
      if (controls !== undefined) holds.put(controls, job.id, clock.now() + config().approval.hold);
  }

  /** Items that surely did nothing hold nobody. */
  release(job: Job & { steps: readonly { n: number; state: string }[] }): void {
    const held = (failed: boolean): string[] =>
      job.steps.filter(({ state }) => (state === 'failed') === failed).flatMap(({ n }) => job.plan.items[n]?.controls ?? []);
    const kept = held(false);
    for (const person of held(true)) if (!kept.includes(person)) this.#options.holds.drop(person, job.id);
  }

  #record(event: AuditEvent, job: Job, more: Pick<AuditEntry, 'actor'> & Partial<AuditEntry>): void {
    this.#options.audit.record({ event, command: job.command, tier: job.tier, jobId: job.id, planHash: job.planHash, ...more });
  }

  #counted(job: Job, approval: ApprovalRecord): string[] {
    const persons = this.decisions(job.id).filter(({ verdict, person }) => verdict === 'approve' && this.#mayGive(job, approval, person));
    return [...new Set(persons.map(({ person }) => person))];
  }

  #mayGive(job: Job, approval: ApprovalRecord, person: string): boolean {
    return this.approversOf(job, approval).includes(person);
  }

  #lostRole(job: Job): Ending | null {
    const { requester } = job;
    if (requester.kind === 'shell' || mayRequest(this.#options.config(), requester, groupOf(job), job.tier)) return null;
    return { kind: 'role-lost', person: requester.person };
  }

  #objectionToVeto(job: Job, { person }: Vote): Failure | null {
    if (isOperator(this.#options.config(), person)) return null;
    return new Failure('access.no-role', { attempted: `refuse \`${job.command}\`` });
  }

  #objection(job: Job, approval: ApprovalRecord, vote: Vote): Failure | null {
    const config = this.#options.config();
    const attempted = `approve \`${job.command}\``;
    const requester = job.requester.kind === 'person' ? job.requester.person : null;
    if (approval.approver === 'requester' && vote.person !== requester)
      return new Failure('access.not-requester', { attempted, reason: `only ${requester ?? 'the shell'} asked for it` });
    if (approval.approver === 'others') {
      if (vote.person === requester) return new Failure('approval.own-request', { attempted });
      const missing = groupsOf(job.plan).find((group) => !mayApprove(config, vote.person, group, job.tier));
      if (missing !== undefined)
        return new Failure('approval.not-allowed', {
          attempted,
          reason: `your role does not include approving ${job.tier} commands of the group \`${missing}\``,
        });
      if (approval.excluded.includes(vote.person)) return new Failure('approval.is-target', { attempted });
      const until = this.heldUntil(vote.person);
      if (until !== null) return new Failure('approval.on-hold', { attempted, reason: onHold(until, config) });
    }
    if (this.#options.identityChanged(vote.person)) return new Failure('access.identity-changed', { attempted });
    if (approval.typed !== null && vote.by !== 'typed')
      return new Failure('approval.must-be-typed', { attempted, hint: `Type \`!approve ${approval.typed}\`.` });
    return approval.way === 'code' ? this.#objectionToTrust(attempted, vote) : null;
  }

  /**
   * A code counts as an encrypted event of a device that its owner has signed, by the identity that is known: a server admin can forge what is plain,
   * and give an account a new identity.
   */
  #objectionToTrust(attempted: string, { trust, userId }: Vote): Failure | null {
    if (!this.#options.encrypted())
      return this.#options.config().approval.catastrophicInPlainRoom ? null : new Failure('approval.plain-room', { attempted });
    if (trust.kind !== 'decrypted' || !trust.crossSigned) return new Failure('approval.untrusted-device', { attempted });
    const isKnown = trust.identity !== null && trust.identity === this.#options.knownIdentity(userId);
    return isKnown ? null : new Failure('access.identity-changed', { attempted });
  }
}

/** Whether a tier asks for an alert off the server when it is approved. */
export function isAlerted(config: Config, tier: Tier): boolean {
  return ruleOf(config.approval.mode, tier).alert;
}

function deciderOf({ person, userId, trust, eventId }: Vote): Decider {
  return { actor: { kind: 'person', person, userId, trust }, eventId };
}

/** The groups that who approves a plan must be allowed to approve: its own, and those of the commands that it lets run. */
export function groupsOf(plan: Plan): string[] {
  return [...new Set([plan.command.split(' ')[0] ?? plan.command, ...plan.items.flatMap(({ grants }) => grants ?? [])])];
}

function groupOf(job: Job): string {
  return job.command.split(' ')[0] ?? job.command;
}

function onHold(until: number, config: Config): string {
  return `until ${showTime(until, config.timeZone)} you may not: a command could have given somebody control of an account of yours`;
}

function notWaiting(job: Job): Failure {
  return new Failure('approval.not-waiting', { attempted: `decide on \`${job.command}\``, reason: `it is ${job.state} already` });
}

function refused(job: Job | null, failure: Failure): Verdict {
  return { kind: 'refused', job, failure };
}

function isSame(one: string, other: string): boolean {
  const [first, second] = [Buffer.from(one), Buffer.from(other)];
  return first.length === second.length && timingSafeEqual(first, second);
}
