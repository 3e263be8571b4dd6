import { steward, type Audit, type AuditEntry } from '../../audit/audit.ts';
import type { Clock } from '../../clock.ts';
import { asFailure, Failure } from '../../failures/failure.ts';
import { text, type Inline, type Part } from '../../reply/parts.ts';
import { failureReply, type Reply } from '../../reply/reply.ts';
import { showTime } from '../../reply/time.ts';
import type { JobStore } from '../../store/jobs.ts';
import type { RunOutcome, RunRecord, ScheduleStore } from '../../store/schedules.ts';
import type { StandingRecord } from '../../store/standing-approvals.ts';
import type { Store } from '../../store/store.ts';
import type { Log } from '../../telemetry/log.ts';
import type { ScheduleOrigin, SettledJob } from '../job.ts';
import type { JobRequest, Jobs } from '../jobs.ts';
import { giversOf, type StandingApprovals } from '../standing.ts';
import { countedMissed } from './timetable.ts';
import { asSchedule, jitterOf, outOfTurn, runId, timetableOf, type Schedule } from './schedule.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
/** A run that begins within this after its time is on time. */
const grace = minute;
/** The clock may be set while Steward sleeps, so that it never sleeps longer. */
const longestSleep = 5 * second;
/** A clock that was set back further is told, and the timetable followed from there; less is waited for. */
const setBack = 25 * hour;
/** After the store could not be written. */
const storeRetry = 30 * second;

/** What a run comes to before anything is changed. */
export type Preparation =
  /** `refusal`: what the audit is told, where the command was refused. */
  | { kind: 'answer'; reply: Reply; refusal: AuditEntry | null }
  | { kind: 'job'; request: JobRequest }
  /** Something forbids it for now. */
  | { kind: 'held'; failure: Failure }
  /** The person may not run it any more. */
  | { kind: 'stopped'; failure: Failure };

/** Reads and plans the command of a schedule, and answers where it is a read. Changes nothing; never throws. */
export type PrepareRun = (schedule: Schedule, origin: ScheduleOrigin) => Promise<Preparation>;

/** A run that is told of: its schedule, by name, and its job where it came to one. */
export interface ReportedRun {
  schedule: string;
  jobId: string | null;
}

/** Where runs are told. */
export interface ScheduleReports {
  /** Puts rows, or what is too long for a message, into a file. @returns its path, or null when there is none */
  spool(reply: Reply): Promise<string | null>;
  /** Inside the caller's transaction, once for the same cause. @param run the run that it is about, where the schedule is still there */
  tell(cause: string, reply: Reply, file: string | null, run?: ReportedRun): void;
  /** User ids of those who hear of failures beside the person who made the schedule. */
  owners(): readonly string[];
}

export interface SchedulerOptions {
  store: Store;
  audit: Audit;
  schedules: ScheduleStore;
  jobStore: JobStore;
  jobs: () => Jobs;
  standing: Pick<StandingApprovals, 'end' | 'exceeded' | 'look'>;
  /** Whether something forbids the command of a schedule now: a freeze, a lock-down, a lock. */
  isHeld: (schedule: Schedule) => boolean;
  prepare: PrepareRun;
  reports: ScheduleReports;
  jobReply: (job: SettledJob) => Reply;
  /** What more is told of a run, and done when it is told. In the transaction that tells it. */
  complete: (schedule: Schedule, reply: Reply) => Reply;
  clock: Clock;
  log: Log;
}

/**
 * Runs schedules when they are due. How far each has come is stored with what its run did, in one transaction: a crash before
 * it leaves the run due, one after it leaves a job that is journaled. A run is known by the schedule and the time that was due.
 */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly #notBefore = new Map<string, number>();
  #wake: () => void = () => undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** Until `signal` aborts; resolves when what was in flight has ended. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const wait = this.tick();
      const woken = new AbortController();
      this.#wake = () => {
        woken.abort();
      };
      await clock.sleep(wait, AbortSignal.any([signal, woken.signal]));
    }
    await this.idle();
  }

  /** A schedule has changed: looks again at once. */
  wake(): void {
    this.#wake();
  }

  /** Resolves when nothing is being read or planned. */
  async idle(): Promise<void> {
    await Promise.all(this.#inFlight.values());
  }

  /** Begins what is due. @returns milliseconds until it is worth looking again */
  tick(): number {
    const { log, schedules } = this.#options;
    let wait = longestSleep;
    try {
      for (const record of schedules.all()) {
        const schedule = asSchedule(record);
        try {
          this.#options.standing.look(schedule, (ending) => {
            this.#warn(schedule, ending);
          });
          wait = Math.min(wait, this.#look(schedule));
        } catch (error) {
          log.error('a schedule could not be run', { schedule: schedule.name, error });
          this.#later(schedule);
        }
      }
    } catch (error) {
      log.error('the schedules cannot be read', { error });
    }
    return Math.max(wait, 1);
  }

  /** In the transaction that ends a job. */
  settled(job: SettledJob): void {
    if (job.origin.kind !== 'schedule') return;
    const { schedules, jobReply } = this.#options;
    const { origin } = job;
    const outcome = job.state === 'done' ? 'done' : 'failed';
    const failure = job.steps.find((step) => step.failure !== null)?.failure?.id ?? null;
    const at = this.#options.clock.now();
    const record = schedules.get(origin.schedule);
    // One that was removed while it ran still tells how it ended.
    const known = record === null ? null : asSchedule(record);
    if (known !== null) {
      schedules.endRun(known.id, origin.dueAt, outcome, at, failure);
      if (outcome === 'done') this.#succeeded(known, at);
    }
    this.#report(known, job.requester, job.id, origin, jobReply(job), null, job.id);
    this.wake();
  }

  /** A run has ended well: what follows it is due. */
  #succeeded({ id }: Schedule, at: number): void {
    const { schedules } = this.#options;
    schedules.setSuccess(id, at);
    for (const follower of schedules.followers(id)) if (follower.pausedAt === null) schedules.ask(follower.id, outOfTurn(at));
  }

  /** @returns milliseconds until it is worth looking again */
  #look(schedule: Schedule): number {
    const { clock } = this.#options;
    const now = clock.now();
    if (schedule.pausedAt !== null || this.#inFlight.has(schedule.id)) return longestSleep;
    const notBefore = this.#notBefore.get(schedule.id);
    if (notBefore !== undefined && clock.monotonic() < notBefore) return longestSleep;
    if (schedule.askedAt !== null) {
      this.#begin(schedule, { dueAt: schedule.askedAt, late: 0, missed: 0, asked: true });
      return longestSleep;
    }
    if (schedule.follows !== null) return longestSleep;
    if (schedule.cursor - now > setBack) {
      this.#followFrom(schedule, now);
      return longestSleep;
    }
    const timetable = timetableOf(schedule);
    const next = timetable.next(schedule.cursor);
    const begin = next + jitterOf(schedule, next);
    if (now < begin) {
      const held = schedule.catchUp === 'one' ? this.#heldRun(schedule) : null;
      if (held !== null) this.#begin(schedule, held);
      return Math.min(begin - now, longestSleep);
    }
    let passed = timetable.missed(schedule.cursor, now) ?? { latest: next, count: 1, more: false };
    // The last may still have to wait for its jitter.
    if (passed.count > 1 && passed.latest + jitterOf(schedule, passed.latest) > now)
      passed = timetable.missed(schedule.cursor, passed.latest - 1) ?? passed;
    const dueAt = passed.latest;
    const late = now - dueAt - jitterOf(schedule, dueAt);
    this.#due(schedule, { dueAt, late: late > grace ? late : 0, missed: passed.count - 1, asked: false });
    return second;
  }

  /** The last run, where something forbade it that is over: it is made up for, once for all that were held. */
  #heldRun(schedule: Schedule): Run | null {
    const { clock, isHeld, schedules } = this.#options;
    const last = schedules.lastRun(schedule.id);
    // What was asked for out of turn, or was held before a pause, is not.
    if (last?.outcome !== 'held' || last.dueAt !== schedule.cursor || isHeld(schedule)) return null;
    const late = clock.now() - last.dueAt;
    return { dueAt: last.dueAt, late: late > grace ? late : 0, missed: schedules.heldBefore(schedule.id, last.dueAt), asked: false };
  }

  /** A run's time has come: it is begun, or passed over with a word about it. */
  #due(schedule: Schedule, run: Run): void {
    const { schedules, jobStore } = this.#options;
    if (schedules.hasRun(schedule.id, run.dueAt) || jobStore.hasRequest(runId(schedule, run.dueAt))) {
      // The clock was set back: this one has been.
      schedules.setCursor(schedule.id, run.dueAt);
      return;
    }
    const going = schedules.running(schedule.id);
    if (going !== null && this.#isGoing(going)) {
      this.#passOver(schedule, run, 'skipped', `overlap-${runId(schedule, going.dueAt)}`, [
        'Skipped, because the run before is still going. Runs are skipped until it has ended.',
      ]);
      return;
    }
    if (run.late > 0 && schedule.catchUp === 'none') {
      const failure = new Failure('schedule.missed', {
        attempted: `run \`${schedule.command}\``,
        reason: `${run.missed > 0 ? 'the last runs were' : 'the run was'} due while Steward was not running, and \`${schedule.name}\` does not catch up`,
        hint: `\`!schedule run ${schedule.name}\` runs it now.`,
      });
      this.#passOver(schedule, run, 'missed', runId(schedule, run.dueAt), failure);
      return;
    }
    this.#begin(schedule, run);
  }

  #isGoing({ jobId }: RunRecord): boolean {
    const job = jobId === null ? null : this.#options.jobs().get(jobId);
    return job !== null && job.finishedAt === null;
  }

  #passOver(schedule: Schedule, run: Run, outcome: RunOutcome, cause: string, why: Failure | Inline[]): void {
    const { schedules, store, clock, log } = this.#options;
    const now = clock.now();
    store.transaction(() => {
      const failure = why instanceof Failure ? why.id : null;
      schedules.addRun(schedule.id, { dueAt: run.dueAt, outcome, jobId: null, startedAt: now, finishedAt: now, failure });
      schedules.setCursor(schedule.id, run.dueAt);
      this.#record('schedule.passed-over', schedule, { ...(failure === null ? {} : { failure }), detail: { outcome, missed: run.missed } });
      const reply: Reply =
        why instanceof Failure
          ? failureReply(why, schedule.command)
          : { command: schedule.command, outcome: 'refused', parts: [text(...why)] };
      this.#report(schedule, schedule.requester, cause, originOf(schedule, run), reply, null);
    });
    log.warn('a scheduled run was passed over', { schedule: schedule.name, outcome, missed: run.missed });
  }

  #followFrom(schedule: Schedule, now: number): void {
    const { schedules, store } = this.#options;
    store.transaction(() => {
      schedules.setCursor(schedule.id, now);
      const reply: Reply = {
        command: schedule.command,
        outcome: 'refused',
        parts: [
          text(
            'The clock was set back: what has run until ',
            showTime(schedule.cursor, schedule.timeZone),
            ' does not run again, and the timetable is followed from now.',
          ),
        ],
      };
      const run: Run = { dueAt: schedule.cursor, late: 0, missed: 0, asked: false };
      this.#report(schedule, schedule.requester, `set-back-${runId(schedule, schedule.cursor)}`, originOf(schedule, run), reply, null);
    });
  }

  #begin(schedule: Schedule, run: Run): void {
    const { log } = this.#options;
    log.info('a scheduled run begins', { schedule: schedule.name, command: schedule.command, lag_ms: run.late, missed: run.missed });
    const work = this.#carryOut(schedule, run)
      .catch((error: unknown) => {
        log.error('a scheduled run could not be written down', { schedule: schedule.name, error });
        this.#later(schedule);
      })
      .finally(() => {
        this.#inFlight.delete(schedule.id);
        this.wake();
      });
    this.#inFlight.set(schedule.id, work);
  }

  async #carryOut(schedule: Schedule, run: Run): Promise<void> {
    const { clock, jobs, prepare, reports, schedules, standing, store } = this.#options;
    const origin = originOf(schedule, run);
    const startedAt = clock.now();
    const prepared = await prepare(schedule, origin).catch((error: unknown): Preparation => ({
      kind: 'answer',
      reply: failureReply(asFailure(error), schedule.command),
      refusal: null,
    }));
    const file = prepared.kind === 'answer' ? await reports.spool(prepared.reply) : null;
    const cause = runId(schedule, run.dueAt);
    const jobId = store.transaction(() => {
      const now = clock.now();
      // It may have been removed while it was read or planned: then a change is not made, and an answer still told.
      const there = schedules.get(schedule.id) !== null;
      const end = (outcome: RunOutcome, job: string | null, failure: string | null): void => {
        if (!there) return;
        const finishedAt = outcome === 'running' ? null : now;
        schedules.dropHeld(schedule.id, run.dueAt);
        schedules.addRun(schedule.id, { dueAt: run.dueAt, outcome, jobId: job, startedAt, finishedAt, failure });
        if (run.asked) schedules.ask(schedule.id, null);
        else schedules.setCursor(schedule.id, run.dueAt);
      };
      if (prepared.kind === 'job') {
        if (!there) return null;
        const job = jobs().create(prepared.request);
        const { beyond } = job.origin.kind === 'schedule' ? job.origin : {};
        if (beyond !== undefined) standing.exceeded(schedule, job, beyond);
        end('running', job.id, null);
        return job.id;
      }
      if (prepared.kind === 'answer') {
        const { reply, refusal } = prepared;
        if (refusal !== null) this.#options.audit.record(refusal);
        const done = reply.outcome === 'done';
        end(done ? 'done' : 'failed', null, reply.errorId ?? null);
        if (done && there) this.#succeeded(schedule, now);
        this.#report(schedule, schedule.requester, cause, origin, reply, file);
        if (!run.asked && there) this.#skipOverlapped(schedule, run, now);
        return null;
      }
      const { failure } = prepared;
      // Held again and again, it is told once.
      const heldBefore = prepared.kind === 'held' && schedules.lastRun(schedule.id)?.outcome === 'held';
      end(prepared.kind === 'held' ? 'held' : 'failed', null, failure.id);
      if (prepared.kind === 'stopped' && there) {
        schedules.pause(schedule.id, now, failure.reason);
        standing.end(schedule, 'role-gone');
        this.#record('schedule.stopped', schedule, { failure: failure.id });
      }
      if (prepared.kind === 'held' && !heldBefore) this.#record('schedule.passed-over', schedule, { failure: failure.id });
      if (!heldBefore || run.asked) {
        const reply = failureReply(failure, schedule.command);
        const told = prepared.kind === 'held' ? { ...reply, parts: [...reply.parts, heldPart(schedule, run)] } : reply;
        this.#report(schedule, schedule.requester, prepared.kind === 'held' ? `held-${cause}` : cause, origin, told, null);
      }
      return null;
    });
    if (jobId !== null) void jobs().start(jobId);
  }

  /** Its standing approval ends soon: told once, to who made it and to who may give another. */
  #warn(schedule: Schedule, standing: StandingRecord): void {
    const { clock, reports } = this.#options;
    const maker = schedule.requester.kind === 'person' ? [schedule.requester.userId] : [];
    const reply: Reply = {
      command: schedule.command,
      outcome: 'waiting',
      parts: [
        text(
          { strong: schedule.name },
          ' · ',
          { command: schedule.line },
          ` · the approval of ${giversOf(standing).join(' and ')} ends in ${duration(standing.until - clock.now())}, ${showTime(standing.until, schedule.timeZone)}.`,
        ),
        text(
          'After that each run is asked for. To have it approved again: ',
          { command: `schedule remove ${schedule.name}` },
          ', then undo it.',
        ),
      ],
      mentions: [...new Set([...maker, ...reports.owners()])],
    };
    reports.tell(`standing-ends-${standing.jobId}`, reply, null);
  }

  /** What became due while a read went on is skipped, and told. */
  #skipOverlapped(schedule: Schedule, run: Run, now: number): void {
    const overlapped = timetableOf(schedule).missed(run.dueAt, now);
    if (overlapped === null || overlapped.latest + jitterOf(schedule, overlapped.latest) > now) return;
    const { latest, count } = overlapped;
    this.#passOver(
      schedule,
      { dueAt: latest, late: 0, missed: count - 1, asked: false },
      'skipped',
      `overlap-${runId(schedule, run.dueAt)}`,
      ['Skipped, because the run before was still going.'],
    );
  }

  /** What a run came to, in a message that says which run it was; one that failed pings. */
  #report(
    schedule: Schedule | null,
    requester: Schedule['requester'],
    cause: string,
    origin: ScheduleOrigin,
    reply: Reply,
    file: string | null,
    jobId: string | null = null,
  ): void {
    const { reports } = this.#options;
    const maker = requester.kind === 'person' ? [requester.userId] : [];
    const mentions = reply.outcome === 'done' ? {} : { mentions: [...new Set([...maker, ...reports.owners()])] };
    const told: Reply = { ...reply, parts: [text(...headline(schedule, origin)), ...reply.parts], ...mentions };
    if (schedule === null) reports.tell(cause, told, file);
    else reports.tell(cause, this.#options.complete(schedule, told), file, { schedule: schedule.name, jobId });
  }

  #record(event: AuditEntry['event'], schedule: Schedule, more: Partial<AuditEntry>): void {
    this.#options.audit.record({
      event,
      actor: steward,
      command: schedule.command,
      tier: schedule.tier,
      targets: [schedule.name],
      ...more,
    });
  }

  #later(schedule: Schedule): void {
    this.#notBefore.set(schedule.id, this.#options.clock.monotonic() + storeRetry);
  }
}

type Run = Pick<ScheduleOrigin, 'dueAt' | 'late' | 'missed' | 'asked'>;

function originOf(schedule: Schedule, run: Run): ScheduleOrigin {
  return { kind: 'schedule', schedule: schedule.id, name: schedule.name, ...run, catchUp: schedule.catchUp === 'one' };
}

/** What becomes of a run that was passed over. */
function heldPart({ name, catchUp }: Schedule, { asked }: Run): Part {
  return catchUp === 'one' && !asked
    ? text('Passed over, and so are those after it; one run makes up for them when that is over.')
    : text('Passed over. When that is over, ', { command: `schedule run ${name}` }, ' runs it.');
}

function headline(schedule: Schedule | null, { name, dueAt, late, missed, asked }: ScheduleOrigin): Inline[] {
  if (schedule === null) return [{ strong: name }, ' · removed while it ran'];
  const due = showTime(dueAt, schedule.timeZone);
  const lateness = late === 0 ? '' : `, ${duration(late)} late`;
  const count = missed + 1 < countedMissed ? `${missed} runs` : `at least ${missed} runs`;
  const skipped = missed === 0 ? '' : `; ${missed === 1 ? 'one run before it was' : `${count} before it were`} missed`;
  const when = schedule.follows !== null ? schedule.due : asked ? 'asked for' : `due ${due}${lateness}${skipped}`;
  return [{ strong: schedule.name }, ' · ', { command: schedule.line }, ` · ${when}`];
}

/** In the largest unit that leaves a whole number above one. */
export function duration(ms: number): string {
  if (ms >= 48 * hour) return `${Math.round(ms / (24 * hour))} d`;
  if (ms >= 2 * hour) return `${Math.round(ms / hour)} h`;
  return ms >= 2 * minute ? `${Math.round(ms / minute)} min` : `${Math.round(ms / second)} s`;
}
