import type { Store } from './store.ts';

/**
 * `held` until the job that made the password has ended, `due` then, `sending` while it is in the outbox, `delivered` or
 * `refused` until the consequences are drawn.
 */
export type HandoverState = 'held' | 'due' | 'sending' | 'delivered' | 'refused';

/** A password in the file sink that is to be handed to a person another way. */
export interface HandoverRecord {
  /** The account whose password it is. */
  account: string;
  way: string;
  /** Where to: an age recipient. */
  recipient: string;
  /** The account of the person who asked. */
  userId: string;
  state: HandoverState;
  /** Its own id: one for each password. */
  ref: string;
  /** The event that asked and the thread it is in; null until the job has ended, and where no event asked. */
  eventId: string | null;
  threadId: string | null;
}

/** One an account: a newer password takes the place of an older one. */
export class HandoverStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  put(record: Pick<HandoverRecord, 'account' | 'way' | 'recipient' | 'userId' | 'ref'>): void {
    this.#store.database
      .prepare(
        "INSERT OR REPLACE INTO handovers (account, way, recipient, user_id, state, ref, event_id, thread_id) VALUES (?, ?, ?, ?, 'held', ?, NULL, NULL)",
      )
      .run(record.account, record.way, record.recipient, record.userId, record.ref);
  }

  /** The job has ended: what it holds is due. */
  release(account: string, eventId: string | null, threadId: string | null): void {
    this.#store.database
      .prepare("UPDATE handovers SET state = 'due', event_id = ?, thread_id = ? WHERE account = ? AND state = 'held'")
      .run(eventId, threadId, account);
  }

  /** @returns false when it was in another state, or is another by now */
  move(ref: string, from: HandoverState, to: HandoverState): boolean {
    return this.#store.database.prepare('UPDATE handovers SET state = ? WHERE ref = ? AND state = ?').run(to, ref, from).changes === 1;
  }

  remove(ref: string): void {
    this.#store.database.prepare('DELETE FROM handovers WHERE ref = ?').run(ref);
  }

  /** Whatever way the account's password was to take, it takes none. */
  removeOf(account: string): void {
    this.#store.database.prepare('DELETE FROM handovers WHERE account = ?').run(account);
  }

  find(ref: string): HandoverRecord | null {
    const row = this.#store.database.prepare('SELECT * FROM handovers WHERE ref = ?').get(ref);
    return row === undefined ? null : recordOf(row);
  }

  inState(...states: HandoverState[]): HandoverRecord[] {
    return this.#store.database
      .prepare(`SELECT * FROM handovers WHERE state IN (${states.map(() => '?').join(', ')}) ORDER BY rowid`)
      .all(...states)
      .map(recordOf);
  }
}

function recordOf(row: Record<string, unknown>): HandoverRecord {
  const optional = (name: string): string | null => (typeof row[name] === 'string' ? row[name] : null);
  return {
    account: String(row['account']),
    way: String(row['way']),
    recipient: String(row['recipient']),
    userId: String(row['user_id']),
    state: row['state'] as HandoverState,
    ref: String(row['ref']),
    eventId: optional('event_id'),
    threadId: optional('thread_id'),
  };
}
