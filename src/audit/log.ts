import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { AuditFilter, AuditRow, AuditRows } from '../store/audit-rows.ts';
import { storeFailure, type Store } from '../store/store.ts';
import { version } from '../version.ts';
import type { Audit, AuditEntry } from './audit.ts';
import { beginning, canonical, hashOf } from './chain.ts';
import { personOf, recordOf } from './record.ts';

/** Records that are read at once. */
const page = 1000;

/** What is wrong with a record: its content, its place in the chain, or that it is not there. */
export type Fault = 'changed' | 'unlinked' | 'missing';

export interface Verdict {
  /** How many are in order. */
  records: number;
  /** Hash of the last of them. */
  head: string;
  /** The first that is not. */
  broken: { seq: number; fault: Fault } | null;
}

/** The audit in the store: each record holds the hash of the one before. */
export class AuditLog implements Audit {
  readonly #store: Store;
  readonly #rows: AuditRows;
  readonly #clock: Clock;

  constructor(store: Store, rows: AuditRows, clock: Clock) {
    this.#store = store;
    this.#rows = rows;
    this.#clock = clock;
  }

  record(entry: AuditEntry): void {
    const last = this.#rows.last();
    const seq = (last?.seq ?? 0) + 1;
    const at = this.#clock.now();
    const prev = last?.hash ?? beginning;
    const record = canonical(recordOf(entry, seq, at, version));
    this.#store.transaction(() => {
      try {
        this.#rows.add(
          { seq, at, prev, hash: hashOf(prev, record), record },
          { event: entry.event, person: personOf(entry.actor), jobId: entry.jobId ?? null },
        );
      } catch (error) {
        throw unwritable(storeFailure(error, 'write to the audit'));
      }
    });
  }

  /** Whether a record tells that this stranger spoke. */
  knowsStranger(userId: string): boolean {
    return this.#rows.newest({ person: userId, event: 'access.stranger' }, Number.MAX_SAFE_INTEGER, 1).length > 0;
  }

  /** At most `limit` records that fit, newest first, numbered below `before`. */
  newest(filter: AuditFilter, before: number, limit: number): AuditRow[] {
    return this.#rows.newest(filter, before, limit);
  }

  /** Reads the whole chain in the store. The promise is given up between pages, so that other work goes on. */
  async verify(): Promise<Verdict> {
    let seq = 0;
    let prev = beginning;
    for (;;) {
      const rows = this.#rows.after(seq, page);
      for (const row of rows) {
        const fault =
          row.seq !== seq + 1 ? 'missing' : row.prev !== prev ? 'unlinked' : hashOf(prev, row.record) !== row.hash ? 'changed' : null;
        if (fault !== null) return { records: seq, head: prev, broken: { seq: seq + 1, fault } };
        ({ seq, hash: prev } = row);
      }
      if (rows.length < page) return { records: seq, head: prev, broken: null };
      await setImmediate();
    }
  }
}

/** Nothing is done that cannot be written down. */
function unwritable(error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  return new Failure('audit.unwritable', { attempted: 'write to the audit', reason: error.reason, cause: error });
}
