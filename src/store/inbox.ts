import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** How an event came. What is plain, reactions always, is as trustworthy as the homeserver. */
export type Trust =
  | { kind: 'plain' }
  /** Decrypted. `identity` is the sender's master cross-signing key (Ed25519, unpadded base64), or null without one. */
  | { kind: 'decrypted'; deviceId: string; crossSigned: boolean; identity: string | null };

/** An event that asks for something, as intake keeps it. */
export interface InboxEvent {
  eventId: string;
  roomId: string;
  sender: string;
  type: string;
  content: Record<string, unknown>;
  trust: Trust;
  /** Milliseconds old by the server's own `unsigned.age` when it was received; null when the server did not say. */
  ageMs: number | null;
  /** Whether it was sent while Steward was not connected. */
  caughtUp: boolean;
  /** Milliseconds since the epoch. */
  receivedAt: number;
}

export class Inbox {
  readonly #insert: StatementSync;
  readonly #waiting: StatementSync;
  readonly #handled: StatementSync;
  readonly #prune: StatementSync;
  readonly #forget: StatementSync;
  readonly #remove: StatementSync;
  readonly #isRemoved: StatementSync;

  constructor(store: Store) {
    this.#insert = store.database.prepare(
      'INSERT OR IGNORE INTO inbox (event_id, room_id, sender, type, content, trust, age_ms, caught_up, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#waiting = store.database.prepare('SELECT * FROM inbox WHERE handled_at IS NULL ORDER BY received_at, rowid');
    this.#handled = store.database.prepare('UPDATE inbox SET handled_at = ?, content = NULL WHERE event_id = ? AND handled_at IS NULL');
    this.#forget = store.database.prepare('DELETE FROM inbox WHERE event_id = ?');
    this.#remove = store.database.prepare(
      `INSERT INTO inbox (event_id, room_id, sender, type, caught_up, received_at, handled_at) VALUES (?, ?, ?, 'removed', 0, ?, ?)
       ON CONFLICT (event_id) DO UPDATE SET type = 'removed', content = NULL, handled_at = excluded.handled_at WHERE handled_at IS NULL`,
    );
    this.#isRemoved = store.database.prepare("SELECT 1 FROM inbox WHERE event_id = ? AND type = 'removed'");
    this.#prune = store.database.prepare('DELETE FROM inbox WHERE handled_at < ?');
  }

  /** @returns false when the event is known already */
  add(event: InboxEvent): boolean {
    return (
      this.#insert.run(
        event.eventId,
        event.roomId,
        event.sender,
        event.type,
        JSON.stringify(event.content),
        JSON.stringify(event.trust),
        event.ageMs,
        event.caughtUp ? 1 : 0,
        event.receivedAt,
      ).changes === 1
    );
  }

  /** Events that nobody has handled, oldest first. */
  waiting(): InboxEvent[] {
    return this.#waiting.all().map((row) => ({
      eventId: String(row['event_id']),
      roomId: String(row['room_id']),
      sender: String(row['sender']),
      type: String(row['type']),
      content: JSON.parse(String(row['content'])) as Record<string, unknown>,
      trust: JSON.parse(String(row['trust'])) as Trust,
      ageMs: row['age_ms'] === null ? null : Number(row['age_ms']),
      caughtUp: row['caught_up'] === 1,
      receivedAt: Number(row['received_at']),
    }));
  }

  /** Marks an event as handled and drops its content. @returns false when it was handled before */
  handled(eventId: string, at: number): boolean {
    return this.#handled.run(at, eventId).changes === 1;
  }

  /** Forgets one event, so that it can be added again: what was said of it was that it could not be read. */
  forget(eventId: string): void {
    this.#forget.run(eventId);
  }

  /** Somebody took an event back: where nothing has come of it yet nothing does any more, also where it comes later than its removal. */
  remove(eventId: string, { roomId, sender }: Pick<InboxEvent, 'roomId' | 'sender'>, at: number): void {
    this.#remove.run(eventId, roomId, sender, at, at);
  }

  /** Whether an event was taken back before anything came of it. */
  isRemoved(eventId: string): boolean {
    return this.#isRemoved.get(eventId) !== undefined;
  }

  /** Forgets events handled before `before` (milliseconds since the epoch). */
  prune(before: number): void {
    this.#prune.run(before);
  }
}
