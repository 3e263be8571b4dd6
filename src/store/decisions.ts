import type { StatementSync } from 'node:sqlite';
import type { Trust } from './inbox.ts';
import type { Store } from './store.ts';

/** What one person said to one request. */
export interface Decision {
  /** The event that said it. */
  eventId: string;
  jobId: string;
  person: string;
  userId: string;
  verdict: 'approve' | 'veto';
  trust: Trust;
  /** Milliseconds since the epoch. */
  at: number;
  /** When it was taken back, or null. */
  withdrawnAt: number | null;
}

export class Decisions {
  readonly #add: StatementSync;
  readonly #find: StatementSync;
  readonly #of: StatementSync;
  readonly #withdraw: StatementSync;

  constructor({ database }: Store) {
    this.#add = database.prepare(
      'INSERT OR IGNORE INTO decisions (event_id, job_id, person, user_id, verdict, trust, at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#find = database.prepare('SELECT * FROM decisions WHERE event_id = ?');
    this.#of = database.prepare('SELECT * FROM decisions WHERE job_id = ? ORDER BY at');
    this.#withdraw = database.prepare('UPDATE decisions SET withdrawn_at = ? WHERE event_id = ? AND withdrawn_at IS NULL');
  }

  /** @returns false when the event, or another approval of this person, counts already */
  add({ eventId, jobId, person, userId, verdict, trust, at }: Omit<Decision, 'withdrawnAt'>): boolean {
    return this.#add.run(eventId, jobId, person, userId, verdict, JSON.stringify(trust), at).changes === 1;
  }

  find(eventId: string): Decision | null {
    const row = this.#find.get(eventId);
    return row === undefined ? null : decisionOf(row);
  }

  /** All of a job, oldest first, also those that were taken back. */
  of(jobId: string): Decision[] {
    return this.#of.all(jobId).map(decisionOf);
  }

  /** @returns false when it was taken back before */
  withdraw(eventId: string, at: number): boolean {
    return this.#withdraw.run(at, eventId).changes === 1;
  }
}

function decisionOf(row: Record<string, unknown>): Decision {
  return {
    eventId: String(row['event_id']),
    jobId: String(row['job_id']),
    person: String(row['person']),
    userId: String(row['user_id']),
    verdict: row['verdict'] as Decision['verdict'],
    trust: JSON.parse(String(row['trust'])) as Trust,
    at: Number(row['at']),
    withdrawnAt: row['withdrawn_at'] === null ? null : Number(row['withdrawn_at']),
  };
}
