import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** `one`: what was missed is made up for by one run; `none`: it is told, and the next time is waited for. */
export type CatchUp = 'one' | 'none';

/** `held`: a freeze, a lock-down or the like forbade it; `skipped`: the run before was still going. */
export type RunOutcome = 'running' | 'done' | 'failed' | 'held' | 'skipped' | 'missed';

/** A command that runs by a timetable. Times are milliseconds since the epoch. */
export interface ScheduleRecord {
  id: string;
  name: string;
  /** When it runs, as it was typed. */
  due: string;
  /** The same for node-cron. */
  expression: string;
  timeZone: string;
  /** The command line, without a prefix. */
  line: string;
  command: string;
  /** The tier that was confirmed; what needs more does not run. */
  tier: string;
  /** JSON; workflow/ gives it its type. */
  requester: unknown;
  catchUp: CatchUp;
  /** Milliseconds. */
  jitter: number;
  createdAt: number;
  /** Each time of the timetable up to this one has been run, or passed over with a word about it. */
  cursor: number;
  /** A run out of turn that somebody asked for, or null. */
  askedAt: number | null;
  pausedAt: number | null;
  pausedReason: string | null;
  /** When a run last ended well. */
  lastSuccess: number | null;
  /** Id of the schedule after whose runs it runs, where it has no times of its own; `expression` is that one's then. */
  follows: string | null;
}

export interface RunRecord {
  dueAt: number;
  outcome: RunOutcome;
  jobId: string | null;
  startedAt: number;
  finishedAt: number | null;
  /** Id of the failure table. */
  failure: string | null;
}

/** Runs of one schedule that are remembered. */
const remembered = 5000;

export class ScheduleStore {
  readonly #store: Store;
  readonly #addRun: StatementSync;
  readonly #hasRun: StatementSync;

  constructor(store: Store) {
    this.#store = store;
    this.#addRun = store.database.prepare(
      'INSERT INTO schedule_runs (schedule_id, due_at, outcome, job_id, started_at, finished_at, failure) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#hasRun = store.database.prepare('SELECT 1 FROM schedule_runs WHERE schedule_id = ? AND due_at = ?');
  }

  transaction<T>(work: () => T): T {
    return this.#store.transaction(work);
  }

  add(schedule: ScheduleRecord): void {
    this.#store.database
      .prepare(
        'INSERT INTO schedules (id, name, due, expression, time_zone, line, command, tier, requester, catch_up, jitter, created_at, cursor, follows) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      )
      .run(
        schedule.id,
        schedule.name,
        schedule.due,
        schedule.expression,
        schedule.timeZone,
        schedule.line,
        schedule.command,
        schedule.tier,
        JSON.stringify(schedule.requester),
        schedule.catchUp,
        schedule.jitter,
        schedule.createdAt,
        schedule.cursor,
        schedule.follows,
      );
  }

  /** Other times, another line or another person; what was due before is not made up for, and a pause is over. */
  change(id: string, to: Pick<ScheduleRecord, 'due' | 'expression' | 'timeZone' | 'line' | 'requester' | 'cursor'>): void {
    this.#store.database
      .prepare(
        'UPDATE schedules SET due = ?, expression = ?, time_zone = ?, line = ?, requester = ?, cursor = max(cursor, ?), paused_at = NULL, paused_reason = NULL WHERE id = ?',
      )
      .run(to.due, to.expression, to.timeZone, to.line, JSON.stringify(to.requester), to.cursor, id);
  }

  /** Those that run after the runs of this one, by name. */
  followers(id: string): ScheduleRecord[] {
    return this.#store.database.prepare('SELECT * FROM schedules WHERE follows = ? ORDER BY name').all(id).map(scheduleOf);
  }

  remove(id: string): void {
    this.#store.database.prepare('DELETE FROM schedules WHERE id = ?').run(id);
  }

  get(id: string): ScheduleRecord | null {
    const row = this.#store.database.prepare('SELECT * FROM schedules WHERE id = ?').get(id);
    return row === undefined ? null : scheduleOf(row);
  }

  find(name: string): ScheduleRecord | null {
    const row = this.#store.database.prepare('SELECT * FROM schedules WHERE name = ?').get(name);
    return row === undefined ? null : scheduleOf(row);
  }

  /** All, by name. */
  all(): ScheduleRecord[] {
    return this.#store.database.prepare('SELECT * FROM schedules ORDER BY name').all().map(scheduleOf);
  }

  setCursor(id: string, cursor: number): void {
    this.#store.database.prepare('UPDATE schedules SET cursor = ? WHERE id = ?').run(Math.trunc(cursor), id);
  }

  pause(id: string, at: number, reason: string | null): void {
    this.#store.database
      .prepare('UPDATE schedules SET paused_at = ?, paused_reason = ?, asked_at = NULL WHERE id = ?')
      .run(Math.trunc(at), reason, id);
  }

  /** What was due while it was paused is not made up for. */
  resume(id: string, at: number): void {
    this.#store.database
      .prepare('UPDATE schedules SET paused_at = NULL, paused_reason = NULL, cursor = max(cursor, ?) WHERE id = ?')
      .run(Math.trunc(at), id);
  }

  /** Asks for a run out of turn, or takes that back with null. */
  ask(id: string, at: number | null): void {
    this.#store.database.prepare('UPDATE schedules SET asked_at = ? WHERE id = ?').run(at, id);
  }

  setSuccess(id: string, at: number): void {
    this.#store.database.prepare('UPDATE schedules SET last_success = ? WHERE id = ?').run(Math.trunc(at), id);
  }

  addRun(id: string, run: RunRecord): void {
    this.#addRun.run(id, run.dueAt, run.outcome, run.jobId, Math.trunc(run.startedAt), run.finishedAt, run.failure);
    this.#store.database
      .prepare(
        'DELETE FROM schedule_runs WHERE schedule_id = ?1 AND due_at < (SELECT due_at FROM schedule_runs WHERE schedule_id = ?1 ORDER BY due_at DESC LIMIT 1 OFFSET ?2)',
      )
      .run(id, remembered);
  }

  /** Forgets that a run was held: it is begun after all. */
  dropHeld(id: string, dueAt: number): void {
    this.#store.database.prepare("DELETE FROM schedule_runs WHERE schedule_id = ? AND due_at = ? AND outcome = 'held'").run(id, dueAt);
  }

  /** How many runs in a row were held just before one. */
  heldBefore(id: string, dueAt: number): number {
    const row = this.#store.database
      .prepare(
        "SELECT count(*) AS n FROM schedule_runs WHERE schedule_id = ?1 AND due_at < ?2 AND due_at > (SELECT coalesce(max(due_at), -1) FROM schedule_runs WHERE schedule_id = ?1 AND due_at < ?2 AND outcome <> 'held')",
      )
      .get(id, dueAt);
    return Number(row?.['n'] ?? 0);
  }

  hasRun(id: string, dueAt: number): boolean {
    return this.#hasRun.get(id, dueAt) !== undefined;
  }

  /** Ends a run that a job did. */
  endRun(id: string, dueAt: number, outcome: RunOutcome, at: number, failure: string | null): void {
    this.#store.database
      .prepare('UPDATE schedule_runs SET outcome = ?, finished_at = ?, failure = ? WHERE schedule_id = ? AND due_at = ?')
      .run(outcome, Math.trunc(at), failure, id, dueAt);
  }

  /** The run that was begun last, or null. */
  lastRun(id: string): RunRecord | null {
    const row = this.#store.database
      .prepare('SELECT * FROM schedule_runs WHERE schedule_id = ? ORDER BY started_at DESC, due_at DESC LIMIT 1')
      .get(id);
    return row === undefined ? null : runOf(row);
  }

  /** The run that is going, by its job, or null. */
  running(id: string): RunRecord | null {
    const row = this.#store.database.prepare("SELECT * FROM schedule_runs WHERE schedule_id = ? AND outcome = 'running'").get(id);
    return row === undefined ? null : runOf(row);
  }
}

function scheduleOf(row: Record<string, unknown>): ScheduleRecord {
  return {
    id: String(row['id']),
    name: String(row['name']),
    due: String(row['due']),
    expression: String(row['expression']),
    timeZone: String(row['time_zone']),
    line: String(row['line']),
    command: String(row['command']),
    tier: String(row['tier']),
    requester: JSON.parse(String(row['requester'])) as unknown,
    catchUp: row['catch_up'] as CatchUp,
    jitter: Number(row['jitter']),
    createdAt: Number(row['created_at']),
    cursor: Number(row['cursor']),
    askedAt: optional(row['asked_at']),
    pausedAt: optional(row['paused_at']),
    pausedReason: typeof row['paused_reason'] === 'string' ? row['paused_reason'] : null,
    lastSuccess: optional(row['last_success']),
    follows: typeof row['follows'] === 'string' ? row['follows'] : null,
  };
}

function runOf(row: Record<string, unknown>): RunRecord {
  return {
    dueAt: Number(row['due_at']),
    outcome: row['outcome'] as RunOutcome,
    jobId: typeof row['job_id'] === 'string' ? row['job_id'] : null,
    startedAt: Number(row['started_at']),
    finishedAt: optional(row['finished_at']),
    failure: typeof row['failure'] === 'string' ? row['failure'] : null,
  };
}

function optional(value: unknown): number | null {
  return value === null ? null : Number(value);
}
