import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { steward, type Audit, type AuditActor, type AuditEntry, type AuditEvent } from '../audit/audit.ts';
import type { Clock, Ids } from '../clock.ts';
import type { Secret } from '../config/secret.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import type { ApprovalRecord, ApprovalStore } from '../store/approvals.ts';
import type { Decisions } from '../store/decisions.ts';
import type { JobStore, JobState, StepRecord } from '../store/jobs.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import { asJob, standingOf, type Ending, type Job, type JobOrigin, type JobRequester, type SettledJob } from './job.ts';
import { planDifference } from './plan-difference.ts';
import { planHash, type Plan } from './plan.ts';

/** What runs the items of a plan. The commands give this; workflow/ knows none of them. */
export interface Executor {
  /** Makes the plan again from the same inputs. Throws a Failure where it cannot be carried out now. */
  plan(job: Job): Promise<Plan>;
  /** Does one item and reads it back. @returns the command's result */
  run(job: Job, n: number, secrets: ReadonlyMap<string, Secret>, hooks: RunHooks): Promise<unknown>;
  /** Looks whether the effect of one item is there. @returns the result, or null when it is not */
  probe(job: Job, n: number): Promise<unknown>;
}

/** What stands for the work of a step that has waited for people: after a kill it is run again, and asks them again. */
export const peopleAsked = 'again';
/** The same of one that was cancelled while no process ran it: the next start ends it, where whoever asked is told. */
export const cancelledMeanwhile = 'cancelled';

export interface RunHooks {
  /** What the homeserver called the work that an earlier process has begun, or null: then it is begun. */
  work: string | null;
  /** Keeps what the homeserver calls the work that has begun: durable when it returns. */
  begun: (work: string) => void;
  progress: (words: string) => void;
  /** Aborts when Steward begins to stop. A run that only waits throws its reason: the next start goes on with it. */
  leaving: AbortSignal;
  /** Waits for people: jobs on the same target, and with the same lock, have their turn meanwhile. */
  aside: <T>(wait: () => Promise<T>) => Promise<T>;
}

/** What a job must have before it runs, and until when (milliseconds since the epoch). */
export interface Need extends Omit<ApprovalRecord, 'jobId' | 'request' | 'round'> {
  until: number;
}

export interface JobRequest {
  requestId: string;
  plan: Plan;
  inputs: readonly Record<string, unknown>[];
  requester: JobRequester;
  origin: JobOrigin;
  /** Null where it runs at once. */
  need: Need | null;
  /** Why it runs without the approval that its tier asks for; the shell's alone. */
  breakGlass?: string | undefined;
  /** Values of secret arguments; kept in memory until the job has ended. */
  secrets?: ReadonlyMap<string, Secret>;
  undo: string | null;
  /** The job that this one takes back. */
  undoes: string | null;
}

export interface JobEvents {
  /** Inside the transaction that makes a job, shows it again, or sends it back: people must be asked. */
  asked(job: Job, approval: ApprovalRecord): void;
  /** Before an approved job runs: it can still be vetoed for so many milliseconds; 0 when that is over. */
  countdown(job: Job, left: number): void;
  /** In the transaction in which it begins to run. */
  started(job: Job): void;
  /** Inside the transaction that ends the job: what is written here is kept exactly when the end is. */
  settled(job: SettledJob): void;
  /** A step of several has ended; or, with words, one that is long says what it does. */
  progress(job: Job, finished: number, words?: string): void;
}

/** Who decided about a job, and by which event. */
export interface Decider {
  actor: AuditActor;
  eventId?: string;
}

export interface JobsOptions {
  store: Store;
  jobs: JobStore;
  audit: Audit;
  approvals: ApprovalStore;
  decisions: Decisions;
  clock: Clock;
  ids: Ids;
  log: Log;
  executor: Executor;
  events: JobEvents;
  /** Why a job must not run any more though it was approved: a role that went, a standing approval that ended. Null when it may. */
  objection: (job: Job) => Ending | null;
  /** Whether somebody who refuses the job now is heard. */
  isVetoHeard: (job: Job) => boolean;
  /** The lock that a command holds, `none` for none: those that hold one run one after the other. */
  lockOf: (command: string) => string;
  /** Milliseconds after which an approved job that never ran is not run any more. */
  executeWithin: () => number;
}

type EndState = Exclude<JobState, 'pending' | 'approved' | 'running'>;

/** Milliseconds between two times that a countdown is told. */
const countdownStep = 3000;
/** Milliseconds until a job is looked at again whose journal could not be written. */
const journalRetry = 5000;

/**
 * The life of a change: pending → approved → running → done, failed or unknown; pending → vetoed, expired or superseded;
 * approved → vetoed, expired or plan-changed, or back to pending. Every step is journaled before its effect. After a crash
 * a running step is probed, never repeated.
 */
export class Jobs {
  readonly #options: JobsOptions;
  readonly #secrets = new Map<string, ReadonlyMap<string, Secret>>();
  /** Made by this process and not ended yet. */
  readonly #made = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #targets = new Map<string, Promise<void>>();
  /** What gives up the turn of each job that has it. */
  readonly #turns = new Map<string, () => void>();
  readonly #countdowns = new Map<string, AbortController>();
  readonly #leaving = new AbortController();
  readonly #stop = new AbortController();
  /** Running jobs of which no further step is begun. */
  readonly #cancelled = new Set<string>();

  constructor(options: JobsOptions) {
    this.#options = options;
  }

  /** Writes the job down, in the caller's transaction, and asks for what it needs; `start` runs it where that is nothing. */
  create(request: JobRequest): Job {
    const { approvals, clock, events, ids, jobs } = this.#options;
    const { need } = request;
    const now = clock.now();
    const job: Job = {
      id: ids.short(10),
      requestId: request.requestId,
      command: request.plan.command,
      inputs: request.inputs,
      plan: request.plan,
      planHash: planHash(request.plan),
      tier: request.plan.tier,
      state: need === null ? 'approved' : 'pending',
      requester: request.requester,
      origin: request.origin,
      createdAt: now,
      expiresAt: need?.until ?? null,
      approvedAt: need === null ? now : null,
      startedAt: null,
      finishedAt: null,
      undo: request.undo,
      undoneBy: null,
      undoes: request.undoes,
      ending: request.breakGlass === undefined ? null : { kind: 'break-glass', reason: request.breakGlass },
    };
    this.#made.add(job.id);
    if (request.secrets !== undefined) this.#secrets.set(job.id, request.secrets);
    this.#options.store.transaction(() => {
      const same = requestKey(job);
      if (need !== null) for (const id of approvals.same(same)) this.end(id, 'pending', 'superseded', { kind: 'superseded' });
      jobs.add(job, request.plan.items.length);
      const detail = { arguments: argumentsOf(job), ...(request.breakGlass === undefined ? {} : { break_glass: request.breakGlass }) };
      this.#record('job.requested', job, { ...requesterOf(job), targets: targetsOf(job), detail });
      if (need === null) return;
      const approval = { ...need, jobId: job.id, request: same, round: 0 };
      approvals.add(approval);
      events.asked(job, approval);
    });
    return job;
  }

  get(id: string): Job | null {
    const record = this.#options.jobs.get(id);
    return record === null ? null : asJob(record);
  }

  /** Shows the request of a pending job once more, in the caller's transaction. */
  askAgain(id: string): void {
    const { approvals, events } = this.#options;
    approvals.again(id);
    const [job, approval] = [this.get(id), approvals.get(id)];
    if (job !== null && approval !== null) events.asked(job, approval);
  }

  /** Takes the last approval that it needed. Of two at once one wins. @returns false when it is not pending any more */
  approve(id: string, by?: Decider): boolean {
    const { clock, jobs, store } = this.#options;
    return store.transaction(() => {
      const job = this.get(id);
      if (job === null || !jobs.move(id, 'pending', 'approved', clock.now())) return false;
      this.#record('job.approved', job, by ?? { actor: requesterOf(job).actor });
      return true;
    });
  }

  /** An approval was taken back before the run. @returns false when it runs already */
  sendBack(id: string): boolean {
    if (!this.#options.jobs.move(id, 'approved', 'pending', this.#options.clock.now())) return false;
    this.#countdowns.get(id)?.abort();
    return true;
  }

  /** Takes a refusal, also during the countdown. @returns false when it runs or has ended */
  veto(id: string, by?: Decider): boolean {
    const who = by?.actor.kind === 'person' ? by.actor : null;
    const ending: Ending = { kind: 'vetoed', person: who?.person ?? null, userId: who?.userId ?? null };
    return this.end(id, 'pending', 'vetoed', ending, by) || this.end(id, 'approved', 'vetoed', ending, by);
  }

  steps(id: string): StepRecord[] {
    return this.#options.jobs.steps(id);
  }

  /** Jobs that this process runs; one that a crash has cut off is none. */
  running(): Job[] {
    return this.#options.jobs
      .inState('running')
      .filter(({ id }) => this.#running.has(id))
      .map(asJob);
  }

  /** Those of them that have their turn; what waits for people has not. */
  atWork(): Job[] {
    return this.running().filter(({ id }) => this.#turns.has(id));
  }

  /** At most `limit` jobs, in one state or any, newest first, after `from` newer ones. */
  newest(state: JobState | null, from: number, limit: number): Job[] {
    return this.#options.jobs.newest(state, from, limit).map(asJob);
  }

  /**
   * Ends a job that waits; of one that runs, no step begins after the one that is under way. One that a killed process has left
   * waiting for people is ended by the next start.
   *
   * @returns false for one that an earlier process ran, and that nobody has looked at since
   */
  cancel(id: string): boolean {
    const job = this.get(id);
    if (job?.state === 'pending' || job?.state === 'approved') this.end(id, job.state, 'cancelled');
    else if (job?.state === 'running' && this.#running.has(id)) this.#cancelled.add(id);
    else if (job?.state === 'running') {
      const steps = this.steps(id);
      const underWay = steps.filter((step) => step.state === 'running');
      // Cut off between two steps none is under way: those that were not begun are not begun.
      const cutOff = underWay.length > 0 ? underWay : steps.filter((step) => step.state === 'waiting');
      if (underWay.some(({ work }) => work !== peopleAsked && work !== cancelledMeanwhile)) return false;
      for (const step of cutOff) this.#options.jobs.setStep(id, { ...step, work: cancelledMeanwhile });
      if (job.origin.kind === 'shell') this.#leave(job);
    }
    return true;
  }

  /** Whether a running job stops after its step. */
  isCancelled(id: string): boolean {
    return this.#cancelled.has(id) || this.isCancelledMeanwhile(id);
  }

  /** Whether the next start ends it. */
  isCancelledMeanwhile(id: string): boolean {
    return this.get(id)?.state === 'running' && this.steps(id).some(({ work }) => work === cancelledMeanwhile);
  }

  /** Ends what waited too long for an approval. @returns how many */
  expire(): number {
    return this.#options.jobs.due(this.#options.clock.now()).filter((id) => this.end(id, 'pending', 'expired')).length;
  }

  /** Ends a job that has not begun to run. @returns false when it was in another state */
  end(id: string, from: 'pending' | 'approved', to: EndState, ending?: Ending, by?: Decider): boolean {
    return this.#options.store.transaction(() => this.#settle(id, from, to, ending, by));
  }

  /** Runs an approved job; resolves when it has ended, or was sent back. */
  start(id: string): Promise<void> {
    const known = this.#running.get(id);
    // It may have been sent back and approved once more while its first run is still being stopped.
    if (known !== undefined)
      return known
        .then(() => (this.get(id)?.state === 'approved' ? this.start(id) : undefined))
        .catch((error: unknown) => {
          this.#unjournaled(id, error);
        });
    return this.#track(id, this.#run(id));
  }

  /** What a crash cut off: probes what ran, runs what was approved and is young, ends the rest. Again later, where the store cannot be written. */
  async recover(): Promise<void> {
    try {
      await this.#lookAtCutOff();
    } catch (error) {
      this.#options.log.error('the journal cannot be written', { error });
      this.#recoverLater();
    }
  }

  /**
   * The same for a shell that took the store: what a killed one left there. What the room was asked, or must be told of, what waits
   * for people, whom nobody can ask here, and what cannot be looked at now, waits for the daemon.
   */
  async recoverShell(): Promise<void> {
    const { approvals, jobs } = this.#options;
    const isOwn = ({ id, origin, ending }: Job): boolean =>
      origin.kind === 'shell' &&
      ending?.kind !== 'break-glass' &&
      approvals.get(id)?.place !== 'room' &&
      jobs.steps(id).every(({ work }) => work !== peopleAsked);
    try {
      for (const job of jobs.inState('running').map(asJob)) if (isOwn(job)) await this.#afterCrash(job, true);
      for (const job of jobs.inState('pending').map(asJob)) if (isOwn(job)) this.veto(job.id);
    } catch (error) {
      this.#options.log.error('the journal cannot be written', { error });
    }
  }

  /** Leaves what only waits, and gives what works at most `ms` milliseconds to end; then what still runs is cut off and probed by the next start. */
  async stop(ms: number): Promise<void> {
    const { clock } = this.#options;
    this.#leaving.abort();
    await Promise.race([Promise.all(this.#running.values()), clock.sleep(ms)]);
    this.#stop.abort();
    for (const countdown of this.#countdowns.values()) countdown.abort();
  }

  /** @returns when it has ended; never rejects */
  #track(id: string, work: Promise<void>): Promise<void> {
    const run = work
      .catch((error: unknown) => {
        this.#unjournaled(id, error);
      })
      .finally(() => {
        this.#running.delete(id);
        this.#cancelled.delete(id);
      });
    this.#running.set(id, run);
    return run;
  }

  /** The journal itself failed: the job stays as it is, and is looked at like one that a crash cut off. */
  #unjournaled(id: string, error: unknown): void {
    this.#options.log.error('a job could not be journaled', { job_id: id, error });
    this.#recoverLater();
  }

  #recoverLater(): void {
    const { signal } = this.#stop;
    void this.#options.clock.sleep(journalRetry, signal).then(() => (signal.aborted ? undefined : this.recover()));
  }

  async #lookAtCutOff(): Promise<void> {
    const { jobs } = this.#options;
    // What this process itself has begun by now was not cut off.
    const cutOff = jobs.inState('running').filter((record) => !this.#running.has(record.id));
    for (const record of cutOff) await this.#afterCrash(asJob(record));
    // The shell that waited for it went with the process.
    for (const record of jobs.inState('pending'))
      if (asJob(record).origin.kind === 'shell' && !this.#made.has(record.id)) this.veto(record.id);
    for (const record of jobs.inState('approved')) {
      if (this.#isLate(asJob(record))) this.end(record.id, 'approved', 'expired');
      else void this.start(record.id);
    }
  }

  async #run(id: string): Promise<void> {
    const asked = this.get(id);
    if (asked?.state !== 'approved') return;
    await this.#countDown(asked);
    const job = this.get(id);
    if (job?.state !== 'approved' || this.#stop.signal.aborted) return;
    await this.#inTurn(job, () => this.#execute(job));
  }

  /** Jobs on the same target, or with the same lock, one after the other. */
  async #inTurn(job: Job, work: () => Promise<void>): Promise<void> {
    try {
      await this.#takeTurn(job);
      await work();
    } finally {
      this.#leaveTurn(job.id);
    }
  }

  async #takeTurn(job: Job): Promise<void> {
    const lock = this.#options.lockOf(job.command);
    const targets = [...targetsOf(job), ...(lock === 'none' ? [] : ['lock'])];
    const before = targets.map((target) => this.#targets.get(target) ?? Promise.resolve());
    let free = (): void => undefined;
    const turn = new Promise<void>((resolve) => {
      free = resolve;
    });
    for (const target of targets) this.#targets.set(target, turn);
    await Promise.all(before);
    this.#turns.set(job.id, () => {
      free();
      for (const target of targets) if (this.#targets.get(target) === turn) this.#targets.delete(target);
    });
  }

  #leaveTurn(id: string): void {
    this.#turns.get(id)?.();
    this.#turns.delete(id);
  }

  /** @throws what the wait does, without the turn */
  async #aside<T>(job: Job, wait: () => Promise<T>): Promise<T> {
    this.#leaveTurn(job.id);
    const waited = await wait();
    await this.#takeTurn(job);
    return waited;
  }

  /** Whole after a restart, and again where the room was not heard meanwhile: nobody could veto. */
  async #countDown(job: Job): Promise<void> {
    const { approvals, clock, events } = this.#options;
    const whole = approvals.get(job.id)?.countdown ?? 0;
    if (whole === 0) return;
    const ended = new AbortController();
    this.#countdowns.set(job.id, ended);
    const { signal } = ended;
    let end = clock.monotonic() + whole;
    try {
      for (let left = whole; left > 0 && !signal.aborted; left = end - clock.monotonic()) {
        const isHeard = this.#options.isVetoHeard(job);
        if (isHeard) events.countdown(job, left);
        else if (this.#isLate(job)) break;
        await clock.sleep(Math.min(countdownStep, left), signal);
        if (!isHeard || !this.#options.isVetoHeard(job)) end = clock.monotonic() + whole;
      }
    } finally {
      this.#countdowns.delete(job.id);
    }
    if (!this.#stop.signal.aborted) events.countdown(job, 0);
  }

  async #execute(job: Job): Promise<void> {
    const { clock, executor, jobs, store, events } = this.#options;
    // It waited for a person, or a crash kept it from starting: the world may have moved on since it was planned.
    const isApproved = job.expiresAt !== null || standingOf(job) !== null;
    if (isApproved) {
      const again = await executor.plan(job).catch((error: unknown) => asFailure(error));
      if (again instanceof Failure || planHash(again) !== job.planHash) {
        const difference = again instanceof Failure ? { was: [], now: [[again.message]] } : planDifference(job.plan, again);
        this.end(job.id, 'approved', 'plan-changed', { kind: 'plan-changed', ...difference });
        return;
      }
    }
    const started = store.transaction(() => {
      // Read again, and in the transaction: an approval may have been taken back, a role may have gone, time may be over.
      const objection = isApproved ? this.#options.objection(job) : null;
      if (objection !== null) {
        this.#settle(job.id, 'approved', 'vetoed', objection);
        return false;
      }
      if (job.expiresAt !== null && this.#isLate(job)) {
        this.#settle(job.id, 'approved', 'expired');
        return false;
      }
      if (!jobs.move(job.id, 'approved', 'running', clock.now())) return false;
      this.#record('job.started', job);
      events.started(job);
      return true;
    });
    if (!started) return;
    const several = job.plan.items.length > 1;
    for (const step of jobs.steps(job.id)) {
      if (this.#cancelled.has(job.id)) {
        this.#leave(job);
        return;
      }
      jobs.setStep(job.id, { ...step, state: 'running' });
      const ended = await this.#step(job, step);
      if (ended === null) return;
      // The last step and the end of the job are one transaction, so the answer is never lost between them.
      if (step.n < job.plan.items.length - 1) {
        store.transaction(() => {
          this.#endStep(job, ended);
        });
        if (several) events.progress(job, step.n + 1);
      } else {
        store.transaction(() => {
          this.#endStep(job, ended);
          this.#settle(job.id, 'running', stateOf(jobs.steps(job.id)));
        });
      }
    }
  }

  #isLate(job: Job): boolean {
    if (job.origin.kind === 'schedule' && job.origin.catchUp) return false;
    const countdown = this.#options.approvals.get(job.id)?.countdown ?? 0;
    return this.#options.clock.now() - (job.approvedAt ?? job.createdAt) > this.#options.executeWithin() + countdown;
  }

  /** Ends a running job before its next step, and without the one that would ask people again. */
  #leave(job: Job): void {
    const { jobs, store } = this.#options;
    store.transaction(() => {
      for (const step of jobs.steps(job.id))
        if (step.state === 'waiting' || step.state === 'running')
          this.#endStep(job, { ...step, state: 'failed', failure: recordOf(new Failure('job.cancelled')) });
      this.#settle(job.id, 'running', 'cancelled');
    });
  }

  /** @returns null when Steward stops, and the step is left for the next start to look at */
  async #step(job: Job, { n, work: earlier }: StepRecord): Promise<StepRecord | null> {
    const { events, executor, jobs, log, ids } = this.#options;
    let work = earlier;
    try {
      const result = await executor.run(job, n, this.#secrets.get(job.id) ?? new Map(), {
        work,
        begun: (name) => {
          work = name;
          jobs.setStep(job.id, { n, state: 'running', result: null, failure: null, work });
        },
        progress: (words) => {
          events.progress(job, n, words);
        },
        leaving: this.#leaving.signal,
        aside: (wait) => this.#aside(job, wait),
      });
      return { n, state: 'done', result, failure: null, work };
    } catch (error) {
      if (this.#stop.signal.aborted || error === this.#leaving.signal.reason) return null;
      const failure = asFailure(error);
      const reference = failure.id === 'internal.bug' ? ids.short(8) : undefined;
      log.error('a step failed', {
        job_id: job.id,
        command: job.command,
        failure: failure.id,
        ...(reference === undefined ? {} : { error_id: reference }),
        error,
      });
      return {
        n,
        state: failure.id === 'homeserver.outcome-unknown' ? 'unknown' : 'failed',
        result: null,
        failure: recordOf(failure, reference),
        work,
      };
    }
  }

  /** Looks at it at once; what the homeserver goes on with is waited for as a run is. @param mustKnow whether a job stays as it is where one of its steps cannot be looked at now */
  async #afterCrash(job: Job, mustKnow = false): Promise<void> {
    if (this.isCancelledMeanwhile(job.id)) {
      this.#leave(job);
      return;
    }
    if (this.#options.jobs.steps(job.id).every(({ state, work }) => state !== 'running' || work === null))
      return this.#finishAfterCrash(job, mustKnow);
    void this.#track(
      job.id,
      this.#inTurn(job, () => this.#finishAfterCrash(job, mustKnow)),
    );
  }

  async #finishAfterCrash(job: Job, mustKnow: boolean): Promise<void> {
    const { jobs, log, store } = this.#options;
    const steps: StepRecord[] = [];
    for (const step of jobs.steps(job.id)) {
      if (step.state === 'running') {
        const ended = step.work === null ? await this.#probe(job, step) : await this.#step(job, step);
        if (ended === null) return;
        steps.push(ended);
      } else if (step.state === 'waiting') steps.push({ ...step, state: 'failed', failure: recordOf(new Failure('job.interrupted')) });
      else steps.push(step);
    }
    if (mustKnow && steps.some(({ state }) => state === 'unknown')) return;
    log.warn('a job was cut off and has been looked at', { job_id: job.id, command: job.command, count: steps.length });
    store.transaction(() => {
      for (const step of steps) this.#endStep(job, step);
      this.#settle(job.id, 'running', stateOf(steps), undefined, { actor: steward }, { after_crash: true });
    });
  }

  async #probe(job: Job, step: StepRecord): Promise<StepRecord> {
    try {
      const result = await this.#options.executor.probe(job, step.n);
      if (result !== null) return { ...step, state: 'done', result };
      return { ...step, state: 'failed', failure: recordOf(new Failure('job.interrupted')) };
    } catch (error) {
      return { ...step, state: 'unknown', failure: recordOf(new Failure('job.unknown', { cause: error })) };
    }
  }

  #settle(id: string, from: JobState, to: EndState, ending?: Ending, by?: Decider, detail?: AuditEntry['detail']): boolean {
    const { approvals, clock, decisions, jobs, events } = this.#options;
    if (!jobs.move(id, from, to, clock.now())) return false;
    if (ending !== undefined) jobs.setEnding(id, ending);
    approvals.close(id);
    this.#secrets.delete(id);
    this.#made.delete(id);
    this.#countdowns.get(id)?.abort();
    const job = this.get(id);
    if (job === null) return true;
    if (job.undoes !== null && to === 'done') jobs.setUndoneBy(job.undoes, id);
    const steps = jobs.steps(id);
    const vetoed = to === 'vetoed' && ending?.kind === 'vetoed' ? { actor: requesterOf(job).actor } : {};
    this.#record(`job.${to}`, job, { ...vetoed, ...by, ...resultOf(job, steps, detail) });
    const counted = decisions.of(id).filter(({ withdrawnAt }) => withdrawnAt === null);
    events.settled({ ...job, steps, decisions: counted });
    return true;
  }

  /** Of a job of several items each has a record of its own. */
  #endStep(job: Job, step: StepRecord): void {
    const { jobs } = this.#options;
    jobs.setStep(job.id, step);
    if (job.plan.items.length === 1) return;
    const targets = job.plan.items[step.n]?.targets.map(({ id }) => id);
    this.#record('job.step', job, { targets, failure: step.failure?.id, detail: { n: step.n, state: step.state } });
  }

  /** The one place where a job's transition is written down, always in the transaction that makes it. */
  #record(event: AuditEvent, job: Job, more: Partial<AuditEntry> = {}): void {
    this.#options.audit.record({
      event,
      actor: steward,
      command: job.command,
      tier: job.tier,
      jobId: job.id,
      planHash: job.planHash,
      ...more,
    });
  }
}

/** The same for two requests of one person for the same thing, whatever the world looked like at each. */
function requestKey({ requester, command, inputs }: Job): string {
  const who = requester.kind === 'person' ? requester.person : null;
  return createHash('sha256')
    .update(canonicalize({ who, command, inputs }) ?? '')
    .digest('hex');
}

/** Who asked, and by which event. */
function requesterOf({ requester, origin }: Job): Decider {
  if (origin.kind === 'schedule')
    return { actor: { kind: 'schedule', schedule: origin.name, person: requester.kind === 'person' ? requester.person : null } };
  if (requester.kind === 'shell' || origin.kind === 'shell') return { actor: { kind: 'shell' } };
  return {
    actor: { kind: 'person', person: requester.person, userId: requester.userId, trust: origin.trust ?? { kind: 'plain' } },
    eventId: origin.eventId,
  };
}

/** Names of the arguments that were given; never what they hold. */
function argumentsOf(job: Job): string {
  const given = job.inputs.flatMap((input) => Object.keys(input).filter((name) => input[name] !== undefined && input[name] !== false));
  return [...new Set(given)].sort().join(' ');
}

function targetsOf(job: Job): string[] {
  return job.plan.items.flatMap((item) => item.targets.map(({ id }) => id));
}

/** How long it ran, what failed first, and how many of several items were done. */
function resultOf(job: Job, steps: readonly StepRecord[], detail: AuditEntry['detail']): Partial<AuditEntry> {
  const targets = targetsOf(job);
  const several = steps.length > 1 ? { done: steps.filter(({ state }) => state === 'done').length, of: steps.length } : {};
  const details = { ...several, ...detail };
  return {
    targets: targets.length > 1 ? undefined : targets,
    failure: steps.find(({ failure }) => failure !== null)?.failure?.id,
    duration: job.startedAt === null || job.finishedAt === null ? undefined : job.finishedAt - job.startedAt,
    detail: Object.keys(details).length === 0 ? undefined : details,
  };
}

function stateOf(steps: readonly StepRecord[]): EndState {
  if (steps.some((step) => step.state === 'unknown')) return 'unknown';
  return steps.every((step) => step.state === 'done') ? 'done' : 'failed';
}

function recordOf(failure: Failure, reference?: string): NonNullable<StepRecord['failure']> {
  return {
    id: failure.id,
    ...(failure.attempted === undefined ? {} : { attempted: failure.attempted }),
    reason: failure.reason,
    hint: failure.hint,
    ...(reference === undefined ? {} : { reference }),
  };
}
