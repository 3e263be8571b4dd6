import type { AuditActor } from '../../audit/audit.ts';
import type { Clock, Ids } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';
import type { RunRecord, ScheduleStore } from '../../store/schedules.ts';
import type { StandingApprovals } from '../standing.ts';
import { asSchedule, jitterOf, outOfTurn, timetableOf, type Schedule } from './schedule.ts';

/** What a new schedule is made of. */
export type NewSchedule = Pick<
  Schedule,
  'name' | 'due' | 'expression' | 'timeZone' | 'line' | 'command' | 'tier' | 'requester' | 'catchUp' | 'jitter'
>;

/** The schedules that there are, for the commands about them. */
export class Schedules {
  readonly #store: ScheduleStore;
  readonly #clock: Clock;
  readonly #ids: Ids;
  readonly #standing: Pick<StandingApprovals, 'grant' | 'end'>;
  #changed: (() => void) | null = null;

  constructor(store: ScheduleStore, standing: Pick<StandingApprovals, 'grant' | 'end'>, clock: Clock, ids: Ids) {
    this.#store = store;
    this.#standing = standing;
    this.#clock = clock;
    this.#ids = ids;
  }

  /** Called after each change. Where nobody listens, no schedule runs. */
  listen(changed: () => void): void {
    this.#changed = changed;
  }

  get run(): boolean {
    return this.#changed !== null;
  }

  all(): Schedule[] {
    return this.#store.all().map(asSchedule);
  }

  find(name: string): Schedule | null {
    const record = this.#store.find(name);
    return record === null ? null : asSchedule(record);
  }

  ofId(id: string): Schedule | null {
    const record = this.#store.get(id);
    return record === null ? null : asSchedule(record);
  }

  /** @throws Failure `schedule.not-found` */
  get(name: string, attempted: string): Schedule {
    const schedule = this.find(name);
    if (schedule === null) throw new Failure('schedule.not-found', { attempted, reason: `there is no schedule ${name}` });
    return schedule;
  }

  lastRun(schedule: Pick<Schedule, 'id'>): RunRecord | null {
    return this.#store.lastRun(schedule.id);
  }

  hasRun(schedule: Pick<Schedule, 'id'>, dueAt: number): boolean {
    return this.#store.hasRun(schedule.id, dueAt);
  }

  isRunning(schedule: Pick<Schedule, 'id'>): boolean {
    return this.#store.running(schedule.id) !== null;
  }

  /** Those that run after the runs of this one. */
  followers(schedule: Pick<Schedule, 'id'>): Schedule[] {
    return this.#store.followers(schedule.id).map(asSchedule);
  }

  /** When it runs next, which is past where it is late; null while it is paused. One that follows another runs after that one. */
  nextRun(schedule: Schedule): number | null {
    if (schedule.pausedAt !== null) return null;
    if (schedule.follows !== null) {
      const first = this.ofId(schedule.follows);
      return first === null ? null : this.nextRun(first);
    }
    const next = timetableOf(schedule).next(schedule.cursor);
    return next + jitterOf(schedule, next);
  }

  /** Changes that belong together, all or none of them. */
  together(work: () => void): void {
    this.#store.transaction(work);
  }

  /**
   * @param standing what its runs are approved for beforehand, and the job that was approved; null where they need nobody
   * @param follows the schedule after whose runs it runs
   */
  add(schedule: NewSchedule, standing: { maxObjects: number; jobId: string } | null = null, follows: string | null = null): void {
    const now = this.#clock.now();
    const id = this.#ids.short(10);
    this.#store.transaction(() => {
      this.#store.add({
        ...schedule,
        id,
        createdAt: now,
        cursor: now,
        askedAt: null,
        pausedAt: null,
        pausedReason: null,
        lastSuccess: null,
        follows,
      });
      if (standing !== null) this.#standing.grant({ ...schedule, id }, standing.maxObjects, standing.jobId);
    });
    this.#changed?.();
  }

  /** Those that follow it go with it. */
  remove(id: string, by: AuditActor): void {
    this.#store.transaction(() => {
      for (const { id: follower } of this.#store.followers(id)) this.#removeOne(follower, by);
      this.#removeOne(id, by);
    });
    this.#changed?.();
  }

  #removeOne(id: string, by: AuditActor): void {
    const record = this.#store.get(id);
    if (record !== null) this.#standing.end(asSchedule(record), 'removed', by);
    this.#store.remove(id);
  }

  /** Other times, for those that follow it too; another line and person for itself. It runs again where it was paused. */
  change(id: string, to: Pick<NewSchedule, 'due' | 'expression' | 'timeZone' | 'line' | 'requester'>): void {
    const cursor = Math.trunc(this.#clock.now());
    this.#store.transaction(() => {
      this.#store.change(id, { ...to, cursor });
      for (const follower of this.#store.followers(id))
        this.#store.change(follower.id, { ...follower, expression: to.expression, timeZone: to.timeZone, cursor });
    });
    this.#changed?.();
  }

  pause(schedule: Pick<Schedule, 'id'>): void {
    this.#store.pause(schedule.id, this.#clock.now(), null);
    this.#changed?.();
  }

  resume(schedule: Pick<Schedule, 'id'>): void {
    this.#store.resume(schedule.id, this.#clock.now());
    this.#changed?.();
  }

  /** Asks for a run out of turn. @returns the time it is known by, which no timetable names */
  ask(schedule: Pick<Schedule, 'id'>): number {
    const at = outOfTurn(this.#clock.now());
    this.#store.ask(schedule.id, at);
    this.#changed?.();
    return at;
  }
}
