import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** People who may not approve for a while, because a job could have given somebody else control of an account of theirs. */
export class Holds {
  readonly #put: StatementSync;
  readonly #drop: StatementSync;
  readonly #until: StatementSync;

  constructor({ database }: Store) {
    this.#put = database.prepare('INSERT OR REPLACE INTO holds (person, job_id, until) VALUES (?, ?, ?)');
    this.#drop = database.prepare('DELETE FROM holds WHERE person = ? AND job_id = ?');
    this.#until = database.prepare('SELECT max(until) AS until FROM holds WHERE person = ? AND until > ?');
  }

  /** @param until milliseconds since the epoch */
  put(person: string, jobId: string, until: number): void {
    this.#put.run(person, jobId, until);
  }

  /** The job did nothing to the person's account after all. */
  drop(person: string, jobId: string): void {
    this.#drop.run(person, jobId);
  }

  /** Until when a person may not approve, or null. */
  until(person: string, now: number): number | null {
    const until = this.#until.get(person, now)?.['until'];
    return until === null || until === undefined ? null : Number(until);
  }
}
