import { steward, type Audit, type AuditActor, type AuditEntry } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { showTime } from '../reply/time.ts';
import type { Giver, StandingApprovalStore, StandingEnd, StandingRecord } from '../store/standing-approvals.ts';
import type { Store } from '../store/store.ts';
import { ruleOf } from './approval.ts';
import type { Approvals } from './approvals.ts';
import { standingOf, type Ending, type Job, type StandingUse } from './job.ts';
import { objectsOf, type Plan } from './plan.ts';
import { mayApprove, personOf } from './roles.ts';
import type { Schedule } from './schedule/schedule.ts';
import { atLeast } from './tier.ts';

const day = 24 * 3_600_000;
/** Milliseconds that one is good for. */
export const standingFor = 90 * day;
/** Milliseconds before its end at which people are told. */
export const standingWarning = 7 * day;
/** Objects that a run may act on where nobody says another number. */
export const defaultObjects = 10;

/** What an approval is given for. */
export type Approved = Pick<Schedule, 'id' | 'name' | 'line' | 'command' | 'tier' | 'requester'>;

/** Whether a run needs nobody: by which standing approval, or which bound it passes. */
export type Leave = { standing: StandingUse } | { beyond: string };

export interface StandingApprovalsOptions {
  store: Store;
  audit: Audit;
  rows: StandingApprovalStore;
  approvals: () => Pick<Approvals, 'decisions' | 'job' | 'heldUntil'>;
  /** The schedule of an id, or null. */
  schedule: (id: string) => Schedule | null;
  /** Whether the cross-signing identity of a person is another than the one that is known. */
  identityChanged: (person: string) => boolean;
  /** The cross-signing identity that is known for an account; null as long as none is. */
  knownIdentity: (userId: string) => string | null;
  clock: Clock;
  config: () => Config;
}

/**
 * Approvals that are given once for the runs of a schedule: for one command line, so many objects a run, 90 days, and as
 * long as those who gave it may still approve. What passes a bound is asked for like anything else.
 */
export class StandingApprovals {
  readonly #options: StandingApprovalsOptions;

  constructor(options: StandingApprovalsOptions) {
    this.#options = options;
  }

  /**
   * Gives one, by the approvals of the job that adds the schedule, in the transaction that adds it. What nobody has
   * approved, but ran by --break-glass, gives none.
   */
  grant(schedule: Approved, maxObjects: number, jobId: string): void {
    const { approvals, clock, knownIdentity, rows } = this.#options;
    if (approvals().job(jobId)?.ending?.kind === 'break-glass') return;
    const givers: Giver[] = [];
    for (const { person, userId, verdict } of approvals().decisions(jobId))
      if (verdict === 'approve' && !givers.some((giver) => giver.person === person))
        givers.push({ person, userId, identity: knownIdentity(userId) });
    const grantedAt = clock.now();
    const { id: scheduleId, line, tier } = schedule;
    const until = grantedAt + standingFor;
    rows.add({ jobId, scheduleId, line, tier, maxObjects, givers, grantedAt, until });
    const by = giversOf({ givers }).join(' ');
    this.#record('standing.granted', schedule, { jobId, detail: { by, max_objects: maxObjects, until: new Date(until).toISOString() } });
  }

  /** The one of a schedule, or null. */
  of(scheduleId: string): StandingRecord | null {
    const latest = this.#options.rows.latest(scheduleId);
    return latest?.ended === null ? latest : null;
  }

  /** All that are in force, with their schedules. */
  all(): { standing: StandingRecord; schedule: Schedule }[] {
    const { rows, schedule } = this.#options;
    return rows.all().flatMap((standing) => {
      const found = schedule(standing.scheduleId);
      return found === null ? [] : [{ standing, schedule: found }];
    });
  }

  /** Whether a run with this plan needs nobody. */
  leave(schedule: Approved, plan: Plan): Leave {
    const standing = this.#options.rows.latest(schedule.id);
    const beyond = standing === null ? 'nobody has approved its runs beforehand' : this.#beyond(schedule, standing, plan);
    if (standing === null || beyond !== null) return { beyond: beyond ?? '' };
    const { jobId, grantedAt, until } = standing;
    return { standing: { jobId, by: giversOf(standing), grantedAt, until } };
  }

  /** Why a job must not begin by the standing approval that it was made for, or null. In the transaction in which it would begin. */
  objection(job: Job): Ending | null {
    const use = standingOf(job);
    if (use === null || job.origin.kind !== 'schedule') return null;
    const schedule = this.#options.schedule(job.origin.schedule);
    const leave: Leave = schedule === null ? { beyond: 'the schedule was removed' } : this.leave(schedule, job.plan);
    return 'beyond' in leave ? { kind: 'standing-ended', reason: leave.beyond } : null;
  }

  /** A run begins. In the transaction in which it does. */
  used(job: Job): void {
    const { clock, rows, schedule } = this.#options;
    const use = standingOf(job);
    const found = job.origin.kind === 'schedule' ? schedule(job.origin.schedule) : null;
    if (use === null || found === null) return;
    rows.use(use.jobId, clock.now());
    const detail = { by: use.by.join(' '), granted_by: use.jobId, objects: objectsOf(job.plan) };
    this.#record('standing.used', found, { jobId: job.id, planHash: job.planHash, detail });
  }

  /** A run passes a bound, and is asked for. In the transaction that makes its job. */
  exceeded(schedule: Approved, job: Job, beyond: string): void {
    this.#record('standing.exceeded', schedule, { jobId: job.id, planHash: job.planHash, detail: { beyond } });
  }

  /** Ends the one of a schedule, where there is one. Joins the caller's transaction. @returns whether there was */
  end(schedule: Approved, why: StandingEnd, actor: AuditActor = steward): boolean {
    const { clock, rows, store } = this.#options;
    return store.transaction(() => {
      const standing = this.of(schedule.id);
      if (standing === null || !rows.end(standing.jobId, clock.now(), why)) return false;
      this.#record('standing.ended', schedule, { actor, jobId: standing.jobId, detail: { why, uses: standing.uses } });
      return true;
    });
  }

  /** Takes one back by the job that it was given with. @returns its schedule, or null where none is in force */
  revoke(jobId: string, actor: AuditActor): Schedule | null {
    const standing = this.#options.rows.get(jobId);
    const schedule = standing === null ? null : this.#options.schedule(standing.scheduleId);
    return schedule !== null && this.of(schedule.id)?.jobId === jobId && this.end(schedule, 'revoked', actor) ? schedule : null;
  }

  /**
   * Ends the one of a schedule when its time is over; `tell` is called once when that is near, in the transaction that
   * notes it.
   */
  look(schedule: Approved, tell: (standing: StandingRecord) => void): void {
    const { clock, rows, store } = this.#options;
    const standing = this.of(schedule.id);
    if (standing === null) return;
    const left = standing.until - clock.now();
    if (left <= 0) this.end(schedule, 'expired');
    else if (left <= standingWarning && standing.warnedAt === null)
      store.transaction(() => {
        rows.warn(standing.jobId, clock.now());
        tell(standing);
      });
  }

  /** The bound that a run passes, in words, or null. */
  #beyond(schedule: Approved, standing: StandingRecord, plan: Plan): string | null {
    const { clock, config } = this.#options;
    if (standing.ended === 'revoked') return 'it was taken back';
    if (standing.ended === 'role-gone') return 'it ended when the person who made the schedule had lost the role';
    if (clock.now() >= standing.until || standing.ended !== null) return `its time ended ${showTime(standing.until, config().timeZone)}`;
    if (standing.line !== schedule.line) return 'it was given for another command line';
    if (!atLeast(standing.tier as Schedule['tier'], plan.tier))
      return `the run is ${plan.tier}${plan.reasons.length === 0 ? '' : `, because ${plan.reasons.join(' and ')}`}`;
    const objects = objectsOf(plan);
    if (objects > standing.maxObjects) return `it would change ${objects} objects, and at most ${standing.maxObjects} a run were approved`;
    if (standing.givers.length === 0 && ruleOf(config().approval.mode, plan.tier).approver === 'others')
      return 'it was approved in the shell alone, and needs another person now';
    for (const giver of standing.givers) {
      const gone = this.#gone(schedule, giver, plan);
      if (gone !== null) return gone;
    }
    return null;
  }

  /** Why what somebody gave counts no more, or null. */
  #gone(schedule: Approved, { person, userId, identity }: Giver, plan: Plan): string | null {
    const { approvals, identityChanged, knownIdentity } = this.#options;
    const config = this.#options.config();
    const { requester } = schedule;
    const isMaker = requester.kind === 'person' && requester.person === person;
    if (personOf(config, userId) !== person) return `${person} (${userId}), who approved it, is not in \`people:\` any more`;
    if (ruleOf(config.approval.mode, plan.tier).approver === 'others') {
      if (isMaker) return 'it was approved by the person who made it, and needs another one now';
      const group = plan.command.split(' ')[0] ?? plan.command;
      if (!mayApprove(config, person, group, plan.tier))
        return `${person}, who approved it, may not approve ${plan.tier} commands of the group \`${group}\` any more`;
      if (approvals().heldUntil(person) !== null) return `${person}, who approved it, may not approve anything for now`;
      if (plan.items.some(({ controls }) => controls === person))
        return `it could give control of an account of ${person}, who approved it`;
    }
    const known = knownIdentity(userId);
    if (identityChanged(person) || (identity !== null && known !== identity))
      return `the cross-signing identity of ${person}, who approved it, has changed`;
    return null;
  }

  #record(event: AuditEntry['event'], { name, command, tier }: Approved, more: Partial<AuditEntry>): void {
    this.#options.audit.record({ event, actor: steward, command, tier, targets: [name], ...more });
  }
}

/** Who gave it, by name; where nobody of the room was asked, that was the shell. */
export function giversOf({ givers }: Pick<StandingRecord, 'givers'>): string[] {
  return givers.length === 0 ? ['the shell'] : givers.map(({ person }) => person);
}
