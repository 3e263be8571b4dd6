import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** Why a standing approval is one no more. */
export type StandingEnd = 'expired' | 'removed' | 'revoked' | 'role-gone';

/** A person who gave it. */
export interface Giver {
  person: string;
  userId: string;
  /** The cross-signing identity that was known for the account then, or null. */
  identity: string | null;
}

/** Leave that was given once for the runs of a schedule, within bounds. Times are milliseconds since the epoch. */
export interface StandingRecord {
  /** The job that was approved: the one that added the schedule. */
  jobId: string;
  scheduleId: string;
  /** The command line that was shown. */
  line: string;
  tier: string;
  /** Objects that one run may act on. */
  maxObjects: number;
  /** Empty where it was approved in the shell, which names no person. */
  givers: readonly Giver[];
  grantedAt: number;
  until: number;
  /** Runs that began by it. */
  uses: number;
  usedAt: number | null;
  /** When people were told that it ends soon. */
  warnedAt: number | null;
  endedAt: number | null;
  ended: StandingEnd | null;
}

export class StandingApprovalStore {
  readonly #add: StatementSync;
  readonly #latest: StatementSync;
  readonly #get: StatementSync;
  readonly #all: StatementSync;
  readonly #use: StatementSync;
  readonly #warn: StatementSync;
  readonly #end: StatementSync;

  constructor({ database }: Store) {
    this.#add = database.prepare(
      'INSERT INTO standing_approvals (job_id, schedule_id, line, tier, max_objects, givers, granted_at, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#latest = database.prepare('SELECT * FROM standing_approvals WHERE schedule_id = ? ORDER BY granted_at DESC, rowid DESC LIMIT 1');
    this.#get = database.prepare('SELECT * FROM standing_approvals WHERE job_id = ?');
    this.#all = database.prepare('SELECT * FROM standing_approvals WHERE ended_at IS NULL ORDER BY granted_at');
    this.#use = database.prepare('UPDATE standing_approvals SET uses = uses + 1, used_at = ? WHERE job_id = ?');
    this.#warn = database.prepare('UPDATE standing_approvals SET warned_at = ? WHERE job_id = ?');
    this.#end = database.prepare('UPDATE standing_approvals SET ended_at = ?, ended = ? WHERE job_id = ? AND ended_at IS NULL');
  }

  /** A schedule has one at a time. */
  add(standing: Pick<StandingRecord, 'jobId' | 'scheduleId' | 'line' | 'tier' | 'maxObjects' | 'givers' | 'grantedAt' | 'until'>): void {
    const { jobId, scheduleId, line, tier, maxObjects, givers, grantedAt, until } = standing;
    this.#add.run(jobId, scheduleId, line, tier, maxObjects, JSON.stringify(givers), Math.trunc(grantedAt), Math.trunc(until));
  }

  /** The last one of a schedule, also where it has ended; null where there was none. */
  latest(scheduleId: string): StandingRecord | null {
    return recordOf(this.#latest.get(scheduleId));
  }

  /** By the job that was approved; also one that has ended. */
  get(jobId: string): StandingRecord | null {
    return recordOf(this.#get.get(jobId));
  }

  /** All that have not ended, oldest first. */
  all(): StandingRecord[] {
    return this.#all.all().flatMap((row) => recordOf(row) ?? []);
  }

  use(jobId: string, at: number): void {
    this.#use.run(Math.trunc(at), jobId);
  }

  warn(jobId: string, at: number): void {
    this.#warn.run(Math.trunc(at), jobId);
  }

  /** @returns false when it had ended before */
  end(jobId: string, at: number, why: StandingEnd): boolean {
    return this.#end.run(Math.trunc(at), why, jobId).changes === 1;
  }
}

function recordOf(row: Record<string, unknown> | undefined): StandingRecord | null {
  if (row === undefined) return null;
  const optional = (name: string): number | null => (row[name] === null ? null : Number(row[name]));
  return {
    jobId: String(row['job_id']),
    scheduleId: String(row['schedule_id']),
    line: String(row['line']),
    tier: String(row['tier']),
    maxObjects: Number(row['max_objects']),
    givers: JSON.parse(String(row['givers'])) as Giver[],
    grantedAt: Number(row['granted_at']),
    until: Number(row['until']),
    uses: Number(row['uses']),
    usedAt: optional('used_at'),
    warnedAt: optional('warned_at'),
    endedAt: optional('ended_at'),
    ended: row['ended'] as StandingEnd | null,
  };
}
