import { join } from 'node:path';
import type { AuditEntry } from '../../src/audit/audit.ts';
import { systemClock, systemIds, type Clock } from '../../src/clock.ts';
import { configSchema, type Config } from '../../src/config/schema.ts';
import { ApprovalStore } from '../../src/store/approvals.ts';
import { Decisions } from '../../src/store/decisions.ts';
import { Holds } from '../../src/store/holds.ts';
import { JobStore } from '../../src/store/jobs.ts';
import { ScheduleStore } from '../../src/store/schedules.ts';
import { StandingApprovalStore } from '../../src/store/standing-approvals.ts';
import { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import type { JobRequester, SettledJob } from '../../src/workflow/job.ts';
import { Approvals, type Verdict, type Vote } from '../../src/workflow/approvals.ts';
import { Jobs, type JobRequest, type Need } from '../../src/workflow/jobs.ts';
import type { Plan } from '../../src/workflow/plan.ts';
import { Schedules } from '../../src/workflow/schedule/schedules.ts';
import { StandingApprovals } from '../../src/workflow/standing.ts';

/** A homeserver's people who decide, on a store of their own and clocks that a test moves. */

export const start = Date.parse('2026-11-02T12:00:00Z');
export const requesterOf = (person: string): JobRequester => ({ kind: 'person', person, userId: `@${person}:hs.test` });
export const planOf = (...ids: string[]): Plan => ({
  command: 'thing destroy',
  tier: 'destructive',
  reasons: [],
  items: [{ targets: ids.map((id) => ({ id })), changes: [['destroy']], data: {} }],
});

/** What the configuration says, with roles in place of owners where a test gives some. */
export function configOf(roles: Record<string, readonly string[]> = {}, more: object = {}): Config {
  const person = (name: string): object => ({ user_ids: [`@${name}:hs.test`], roles: roles[name] ?? ['owner'] });
  return configSchema.parse({ people: { alice: person('alice'), bob: person('bob'), carol: person('carol') }, ...more });
}

export class Court {
  now = start;
  monotonic = 0;
  config = configOf();
  encrypted = true;
  /** Accounts whose identity is another than the one that is known. */
  readonly changed = new Set<string>();
  readonly identities = new Map<string, string>();
  readonly audited: AuditEntry[] = [];
  readonly settled: SettledJob[] = [];
  /** Jobs that were told to start, as often as they were. */
  readonly approved: string[] = [];
  /** Jobs that ran, as often as they did. */
  readonly ran: string[] = [];
  readonly clock: Clock = { ...systemClock, now: () => this.now, monotonic: () => this.monotonic };
  readonly store: Store;
  readonly jobs: Jobs;
  readonly approvals: Approvals;
  readonly standing: StandingApprovals;
  readonly schedules: Schedules;
  #made = 0;

  constructor(dir: string) {
    this.store = Store.open(join(dir, 'steward.db'));
    const audit = { record: (entry: AuditEntry) => this.audited.push(entry) };
    const { clock, store } = this;
    const [rows, approvals, decisions] = [new JobStore(store), new ApprovalStore(store), new Decisions(store)];
    this.approvals = new Approvals({
      ...{ store, audit, rows, approvals, decisions, clock, ids: systemIds, holds: new Holds(store) },
      jobs: () => this.jobs,
      config: () => this.config,
      encrypted: () => this.encrypted,
      isRoomHeard: () => true,
      isRemoved: () => false,
      identityChanged: (person) => this.changed.has(person),
      knownIdentity: (userId) => this.identities.get(userId) ?? null,
      approved: (job) => this.approved.push(job.id),
    });
    this.standing = new StandingApprovals({
      ...{ store, audit, clock, rows: new StandingApprovalStore(store) },
      approvals: () => this.approvals,
      schedule: (id) => this.schedules.ofId(id),
      identityChanged: (person) => this.changed.has(person),
      knownIdentity: (userId) => this.identities.get(userId) ?? null,
      config: () => this.config,
    });
    this.schedules = new Schedules(new ScheduleStore(store), this.standing, clock, systemIds);
    this.jobs = new Jobs({
      ...{ store, jobs: rows, audit, approvals, decisions, clock, ids: systemIds, log: silentLog },
      executor: {
        plan: (job) => Promise.resolve(job.plan),
        run: (job) => {
          this.ran.push(job.id);
          return Promise.resolve({});
        },
        probe: () => Promise.resolve(null),
      },
      events: {
        asked: () => undefined,
        countdown: () => undefined,
        progress: () => undefined,
        started: (job) => {
          this.standing.used(job);
        },
        settled: (job) => this.settled.push(job),
      },
      objection: (job) => this.approvals.objection(job) ?? this.standing.objection(job),
      isVetoHeard: () => true,
      lockOf: () => 'none',
      executeWithin: () => 300_000,
    });
  }

  /** Somebody asks for what another must approve. @returns the job's id */
  ask(need: Partial<Need> = {}, more: Partial<JobRequest> = {}): string {
    this.#made += 1;
    return this.jobs.create({
      requestId: `request${this.#made}`,
      plan: planOf(`target${this.#made}`),
      inputs: [{ target: this.#made }],
      requester: requesterOf('alice'),
      origin: { kind: 'room', roomId: '!room', eventId: `$request${this.#made}`, threadId: null },
      need: {
        ...{ way: 'reaction', approver: 'others', persons: 1, excluded: [], typed: null, place: 'room', countdown: 0 },
        until: this.now + 12 * 3_600_000,
        ...need,
      },
      undo: null,
      undoes: null,
      ...more,
    }).id;
  }

  /** @param event an event of its own when left out */
  vote(person: string, jobId: string, more: Partial<Vote> = {}): Verdict {
    this.#made += 1;
    return this.approvals.decide(jobId, {
      eventId: `$vote${this.#made}`,
      person,
      userId: `@${person}:hs.test`,
      trust: { kind: 'plain' },
      verdict: 'approve',
      by: 'reaction',
      ...more,
    });
  }

  /** Events of the audit, oldest first. */
  events(family: string): string[] {
    return this.audited.flatMap(({ event }) => (event.startsWith(family) ? [event] : []));
  }

  close(): void {
    this.store.close();
  }
}
