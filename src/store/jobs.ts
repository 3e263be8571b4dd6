import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

export const jobStates = [
  'pending',
  'approved',
  'running',
  'done',
  'failed',
  'unknown',
  'vetoed',
  'expired',
  'superseded',
  'plan-changed',
  'cancelled',
] as const;
export type JobState = (typeof jobStates)[number];

export type StepState = 'waiting' | 'running' | 'done' | 'failed' | 'unknown';

/** One item of a job's plan, in order from 0. */
export interface StepRecord {
  n: number;
  state: StepState;
  /** The command's result; JSON. */
  result: unknown;
  /** What went wrong: a failure id and the words a person is told. */
  failure: { id: string; attempted?: string; reason: string; hint: string; reference?: string } | null;
  /** What the homeserver calls the work that it goes on with after its answer; null where there is none, or it has not begun. */
  work: string | null;
}

/** A job as it is kept. The JSON columns belong to workflow/, which gives them their types. */
export interface JobRecord {
  id: string;
  /** The event or shell call that asked: one job each. */
  requestId: string;
  command: string;
  /** Arguments of each item, checked; no secrets. */
  inputs: unknown;
  plan: unknown;
  planHash: string;
  tier: string;
  state: JobState;
  requester: unknown;
  origin: unknown;
  createdAt: number;
  /** Until when it may be approved; null where nobody had to. */
  expiresAt: number | null;
  approvedAt: number | null;
  startedAt: number | null;
  finishedAt: number | null;
  undo: string | null;
  undoneBy: string | null;
  /** The job that this one takes back. */
  undoes: string | null;
  /** Why it ended before it ran, or what stood in for its approval; JSON. */
  ending: unknown;
}

export class JobStore {
  readonly #store: Store;
  readonly #insert: StatementSync;
  readonly #step: StatementSync;
  readonly #get: StatementSync;
  readonly #steps: StatementSync;

  constructor(store: Store) {
    this.#store = store;
    const { database } = store;
    this.#insert = database.prepare(
      'INSERT INTO jobs (id, request_id, command, inputs, plan, plan_hash, tier, state, requester, origin, created_at, expires_at, approved_at, undo, undoes, ending) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#step = database.prepare(
      'INSERT INTO steps (job_id, n, state, result, failure, work) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, n) DO UPDATE SET state = excluded.state, result = excluded.result, failure = excluded.failure, work = excluded.work',
    );
    this.#get = database.prepare('SELECT * FROM jobs WHERE id = ?');
    this.#steps = database.prepare('SELECT * FROM steps WHERE job_id = ? ORDER BY n');
  }

  add(job: JobRecord, steps: number): void {
    this.#insert.run(
      job.id,
      job.requestId,
      job.command,
      JSON.stringify(job.inputs),
      JSON.stringify(job.plan),
      job.planHash,
      job.tier,
      job.state,
      JSON.stringify(job.requester),
      JSON.stringify(job.origin),
      job.createdAt,
      job.expiresAt,
      job.approvedAt,
      job.undo,
      job.undoes,
      job.ending === null ? null : JSON.stringify(job.ending),
    );
    for (let n = 0; n < steps; n += 1) this.setStep(job.id, { n, state: 'waiting', result: null, failure: null, work: null });
  }

  get(id: string): JobRecord | null {
    const row = this.#get.get(id);
    return row === undefined ? null : jobOf(row);
  }

  /** Whether a request has made a job already. */
  hasRequest(requestId: string): boolean {
    return this.#store.database.prepare('SELECT 1 FROM jobs WHERE request_id = ?').get(requestId) !== undefined;
  }

  steps(id: string): StepRecord[] {
    return this.#steps.all(id).map((row) => ({
      n: Number(row['n']),
      state: row['state'] as StepState,
      result: row['result'] === null ? null : (JSON.parse(String(row['result'])) as unknown),
      failure: row['failure'] === null ? null : (JSON.parse(String(row['failure'])) as StepRecord['failure']),
      work: row['work'] === null ? null : String(row['work']),
    }));
  }

  setStep(jobId: string, step: StepRecord): void {
    this.#step.run(
      jobId,
      step.n,
      step.state,
      step.result == null ? null : JSON.stringify(step.result),
      step.failure === null ? null : JSON.stringify(step.failure),
      step.work,
    );
  }

  /**
   * Moves a job from one state to another.
   *
   * @returns false when it was in another state, and nothing has changed
   */
  move(id: string, from: JobState, to: JobState, at: number): boolean {
    return (
      this.#store.database
        .prepare(`UPDATE jobs SET state = ?, ${timeOf(to)} = ? WHERE id = ? AND state = ?`)
        .run(to, to === 'pending' ? null : at, id, from).changes === 1
    );
  }

  setEnding(id: string, ending: unknown): void {
    this.#store.database.prepare('UPDATE jobs SET ending = ? WHERE id = ?').run(JSON.stringify(ending), id);
  }

  /** Pending jobs whose time to be approved is over at `now`. */
  due(now: number): string[] {
    return this.#store.database
      .prepare("SELECT id FROM jobs WHERE state = 'pending' AND expires_at < ?")
      .all(now)
      .map((row) => String(row['id']));
  }

  /** At most `limit` jobs, in one state or any, newest first, after `from` newer ones. */
  newest(state: JobState | null, from: number, limit: number): JobRecord[] {
    return this.#store.database
      .prepare('SELECT * FROM jobs WHERE ? IS NULL OR state = ? ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?')
      .all(state, state, limit, from)
      .map(jobOf);
  }

  /** At most `limit` jobs of a command that ran to their end, newest first. */
  ended(command: string, limit: number): JobRecord[] {
    return this.#store.database
      .prepare(
        'SELECT * FROM jobs WHERE command = ? AND started_at IS NOT NULL AND finished_at IS NOT NULL ORDER BY finished_at DESC, rowid DESC LIMIT ?',
      )
      .all(command, limit)
      .map(jobOf);
  }

  inState(state: JobState): JobRecord[] {
    return this.#store.database.prepare('SELECT * FROM jobs WHERE state = ? ORDER BY created_at').all(state).map(jobOf);
  }

  /** The newest done job that a requester (by its canonical JSON) asked for itself, that names an undo and was not undone. */
  lastUndoable(requester: unknown): JobRecord | null {
    const row = this.#store.database
      .prepare(
        "SELECT * FROM jobs WHERE state = 'done' AND requester = ? AND undo IS NOT NULL AND undone_by IS NULL AND json_extract(origin, '$.kind') <> 'schedule' ORDER BY finished_at DESC, rowid DESC LIMIT 1",
      )
      .get(JSON.stringify(requester));
    return row === undefined ? null : jobOf(row);
  }

  setUndoneBy(id: string, jobId: string): void {
    this.#store.database.prepare('UPDATE jobs SET undone_by = ? WHERE id = ?').run(jobId, id);
  }

  countByState(): ReadonlyMap<JobState, number> {
    const rows = this.#store.database.prepare('SELECT state, count(*) AS n FROM jobs GROUP BY state').all();
    return new Map(rows.map((row) => [row['state'] as JobState, Number(row['n'])]));
  }
}

/** The time that a state is entered at; one that goes back to pending is not approved any more. */
function timeOf(state: JobState): string {
  if (state === 'running') return 'started_at';
  return state === 'pending' || state === 'approved' ? 'approved_at' : 'finished_at';
}

function jobOf(row: Record<string, unknown>): JobRecord {
  const json = (name: string): unknown => JSON.parse(String(row[name]));
  const optional = (name: string): number | null => (row[name] === null ? null : Number(row[name]));
  const optionalText = (name: string): string | null => (typeof row[name] === 'string' ? row[name] : null);
  return {
    id: String(row['id']),
    requestId: String(row['request_id']),
    command: String(row['command']),
    inputs: json('inputs'),
    plan: json('plan'),
    planHash: String(row['plan_hash']),
    tier: String(row['tier']),
    state: row['state'] as JobState,
    requester: json('requester'),
    origin: json('origin'),
    createdAt: Number(row['created_at']),
    expiresAt: optional('expires_at'),
    approvedAt: optional('approved_at'),
    startedAt: optional('started_at'),
    finishedAt: optional('finished_at'),
    undo: optionalText('undo'),
    undoneBy: optionalText('undone_by'),
    undoes: optionalText('undoes'),
    ending: row['ending'] === null ? null : json('ending'),
  };
}
