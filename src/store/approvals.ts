import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** How leave is given: a reaction of the requester, one of somebody else, the target typed, a code typed. */
export type ApprovalWay = 'confirm' | 'reaction' | 'target' | 'code';

/** What a job waits for before it may run. */
export interface ApprovalRecord {
  jobId: string;
  way: ApprovalWay;
  /** Who gives it: the person who asked, or others than that one. */
  approver: 'requester' | 'others';
  /** How many different persons. */
  persons: number;
  /** Persons who may not, because it could give control of an account of theirs. */
  excluded: readonly string[];
  /** What must be typed, or null where a reaction is enough. */
  typed: string | null;
  /** Where it is asked. */
  place: 'room' | 'terminal';
  /** Milliseconds between the approval and the run, in which it can be vetoed. */
  countdown: number;
  /** The same for two requests of one person for the same thing. */
  request: string;
  /** How often it has been shown again. */
  round: number;
}

/** The requests of jobs, also of those that have ended; open ones are found by what must be typed and by what was asked. */
export class ApprovalStore {
  readonly #insert: StatementSync;
  readonly #get: StatementSync;
  readonly #typed: StatementSync;
  readonly #same: StatementSync;
  readonly #close: StatementSync;
  readonly #round: StatementSync;

  constructor({ database }: Store) {
    this.#insert = database.prepare(
      'INSERT INTO approvals (job_id, way, approver, persons, excluded, typed, lookup, place, countdown, request, round, open) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)',
    );
    this.#get = database.prepare('SELECT * FROM approvals WHERE job_id = ?');
    this.#typed = database.prepare('SELECT * FROM approvals WHERE lookup = ? AND open = 1');
    this.#same = database.prepare('SELECT job_id FROM approvals WHERE request = ? AND open = 1');
    this.#close = database.prepare('UPDATE approvals SET open = 0 WHERE job_id = ?');
    this.#round = database.prepare('UPDATE approvals SET round = round + 1 WHERE job_id = ?');
  }

  add(approval: ApprovalRecord): void {
    const { jobId, way, approver, persons, excluded, typed, place, countdown, request, round } = approval;
    const lookup = typed === null ? null : lookupOf(typed);
    this.#insert.run(jobId, way, approver, persons, JSON.stringify(excluded), typed, lookup, place, countdown, request, round);
  }

  get(jobId: string): ApprovalRecord | null {
    const row = this.#get.get(jobId);
    return row === undefined ? null : approvalOf(row);
  }

  /** Open ones that may be meant by what somebody typed; the caller compares the whole of it. */
  candidates(typed: string): ApprovalRecord[] {
    return this.#typed.all(lookupOf(typed)).map(approvalOf);
  }

  /** Jobs of open requests for the same thing. */
  same(request: string): string[] {
    return this.#same.all(request).map((row) => String(row['job_id']));
  }

  /** It is decided for good. */
  close(jobId: string): void {
    this.#close.run(jobId);
  }

  /** It is shown once more. */
  again(jobId: string): void {
    this.#round.run(jobId);
  }
}

/** Of a code only the part that stands in the plan's hash: what is drawn by chance is compared in constant time. */
function lookupOf(typed: string): string {
  return /^[0-9A-F]{4}-[0-9A-F]{2}$/.test(typed) ? typed.slice(0, 4) : typed;
}

function approvalOf(row: Record<string, unknown>): ApprovalRecord {
  return {
    jobId: String(row['job_id']),
    way: row['way'] as ApprovalWay,
    approver: row['approver'] as ApprovalRecord['approver'],
    persons: Number(row['persons']),
    excluded: JSON.parse(String(row['excluded'])) as string[],
    typed: typeof row['typed'] === 'string' ? row['typed'] : null,
    place: row['place'] as ApprovalRecord['place'],
    countdown: Number(row['countdown']),
    request: String(row['request']),
    round: Number(row['round']),
  };
}
