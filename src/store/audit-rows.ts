import type { SQLInputValue, StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** A record of the audit as it is kept. Hashes are SHA-256 in lower-case hex. */
export interface AuditRow {
  /** From 1, without a gap. */
  seq: number;
  /** Milliseconds since the epoch. */
  at: number;
  /** Hash of the record before; of the first record 64 zeros. */
  prev: string;
  hash: string;
  /** The record in canonical JSON. */
  record: string;
}

/** What the row can be found by, beside its number and time. */
export interface AuditKeys {
  event: string;
  person: string | null;
  jobId: string | null;
}

export interface AuditFilter {
  person?: string | undefined;
  jobId?: string | undefined;
  /** An event, or a family of events such as `job`. */
  event?: string | undefined;
  /** Milliseconds since the epoch. */
  since?: number | undefined;
}

/** The records of the audit. The table itself refuses to change or remove one. */
export class AuditRows {
  readonly #store: Store;
  readonly #last: StatementSync;
  readonly #insert: StatementSync;
  readonly #after: StatementSync;
  readonly #get: StatementSync;

  constructor(store: Store) {
    this.#store = store;
    const { database } = store;
    this.#last = database.prepare('SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1');
    this.#insert = database.prepare(
      'INSERT INTO audit (seq, at, prev, hash, record, event, person, job_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#after = database.prepare('SELECT seq, at, prev, hash, record FROM audit WHERE seq > ? ORDER BY seq LIMIT ?');
    this.#get = database.prepare('SELECT seq, at, prev, hash, record FROM audit WHERE seq = ?');
  }

  /** Number and hash of the newest record, or null when there is none. */
  last(): { seq: number; hash: string } | null {
    const row = this.#last.get();
    return row === undefined ? null : { seq: Number(row['seq']), hash: String(row['hash']) };
  }

  add(row: AuditRow, { event, person, jobId }: AuditKeys): void {
    this.#insert.run(row.seq, row.at, row.prev, row.hash, row.record, event, person, jobId);
  }

  get(seq: number): AuditRow | null {
    const row = this.#get.get(seq);
    return row === undefined ? null : rowOf(row);
  }

  /** Number of the first record that is not older than `at`; one more than the last where all are. */
  firstSince(at: number): number {
    const row = this.#store.database
      .prepare('SELECT coalesce(min(seq), (SELECT coalesce(max(seq), 0) + 1 FROM audit)) AS seq FROM audit WHERE at >= ?')
      .get(at);
    return Number(row?.['seq'] ?? 1);
  }

  /** At most `limit` records that follow `seq`, in order. */
  after(seq: number, limit: number): AuditRow[] {
    return this.#after.all(seq, limit).map(rowOf);
  }

  /** At most `limit` records that fit, newest first, numbered below `before`. */
  newest(filter: AuditFilter, before: number, limit: number): AuditRow[] {
    const conditions: [sql: string, value: SQLInputValue][] = [['seq < ?', before]];
    if (filter.person !== undefined) conditions.push(['person = ?', filter.person]);
    if (filter.jobId !== undefined) conditions.push(['job_id = ?', filter.jobId]);
    if (filter.event !== undefined)
      conditions.push(filter.event.includes('.') ? ['event = ?', filter.event] : ["event LIKE ? || '.%'", filter.event]);
    if (filter.since !== undefined) conditions.push(['at >= ?', filter.since]);
    return this.#store.database
      .prepare(
        `SELECT seq, at, prev, hash, record FROM audit WHERE ${conditions.map(([sql]) => sql).join(' AND ')} ORDER BY seq DESC LIMIT ?`,
      )
      .all(...conditions.map(([, value]) => value), limit)
      .map(rowOf);
  }
}

function rowOf(row: Record<string, unknown>): AuditRow {
  return {
    seq: Number(row['seq']),
    at: Number(row['at']),
    prev: String(row['prev']),
    hash: String(row['hash']),
    record: String(row['record']),
  };
}
