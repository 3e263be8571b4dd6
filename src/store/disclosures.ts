import type { Store } from './store.ts';

/** A message with a secret in clear, for one person's devices. */
export interface Disclosure {
  eventId: string;
  roomId: string;
  /** Who may have it removed before its time. */
  userId: string;
}

/** Messages that are to be removed: durable, so that a restart forgets none. */
export class Disclosures {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** @param dueAt when it goes by itself: milliseconds since the epoch */
  add({ eventId, roomId, userId }: Disclosure, dueAt: number): void {
    this.#store.database
      .prepare('INSERT OR IGNORE INTO disclosures (event_id, room_id, user_id, due_at) VALUES (?, ?, ?, ?)')
      .run(eventId, roomId, userId, dueAt);
  }

  get(eventId: string): Disclosure | null {
    const row = this.#store.database.prepare('SELECT * FROM disclosures WHERE event_id = ?').get(eventId);
    return row === undefined ? null : disclosureOf(row);
  }

  due(now: number): Disclosure[] {
    return this.#store.database.prepare('SELECT * FROM disclosures WHERE due_at <= ?').all(now).map(disclosureOf);
  }

  remove(eventId: string): void {
    this.#store.database.prepare('DELETE FROM disclosures WHERE event_id = ?').run(eventId);
  }
}

function disclosureOf(row: Record<string, unknown>): Disclosure {
  return { eventId: String(row['event_id']), roomId: String(row['room_id']), userId: String(row['user_id']) };
}
