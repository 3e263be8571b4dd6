import type { Clock, Ids } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';
import type { RunRecord, ScheduleStore } from '../../store/schedules.ts';
import { asSchedule, jitterOf, timetableOf, type Schedule } from './schedule.ts';

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
  #changed: (() => void) | null = null;

  constructor(store: ScheduleStore, clock: Clock, ids: Ids) {
    this.#store = store;
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

  /** When it runs next, which is past where it is late; null while it is paused. */
  nextRun(schedule: Schedule): number | null {
    if (schedule.pausedAt !== null) return null;
    const next = timetableOf(schedule).next(schedule.cursor);
    return next + jitterOf(schedule, next);
  }

  add(schedule: NewSchedule): void {
    const now = this.#clock.now();
    this.#store.add({
      ...schedule,
      id: this.#ids.short(10),
      createdAt: now,
      cursor: now,
      askedAt: null,
      pausedAt: null,
      pausedReason: null,
      lastSuccess: null,
    });
    this.#changed?.();
  }

  remove(schedule: Pick<Schedule, 'id'>): void {
    this.#store.remove(schedule.id);
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
    const now = Math.trunc(this.#clock.now());
    const at = now % 1000 === 0 ? now + 1 : now;
    this.#store.ask(schedule.id, at);
    this.#changed?.();
    return at;
  }
}
