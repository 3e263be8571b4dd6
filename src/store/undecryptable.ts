import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** Events whose key has not come yet, as the homeserver sent them: nothing but ciphertext. */
export class Undecryptable {
  readonly #add: StatementSync;
  readonly #of: StatementSync;
  readonly #remove: StatementSync;
  readonly #prune: StatementSync;

  constructor({ database }: Store) {
    this.#add = database.prepare(
      'INSERT OR IGNORE INTO undecryptable (event_id, room_id, session_id, event, received_at) VALUES (?, ?, ?, ?, ?)',
    );
    this.#of = database.prepare('SELECT event, received_at FROM undecryptable WHERE room_id = ? AND session_id = ? ORDER BY received_at');
    this.#remove = database.prepare('DELETE FROM undecryptable WHERE event_id = ?');
    this.#prune = database.prepare('DELETE FROM undecryptable WHERE received_at < ?');
  }

  add(eventId: string, roomId: string, sessionId: string, event: unknown, at: number): void {
    this.#add.run(eventId, roomId, sessionId, JSON.stringify(event), at);
  }

  of(roomId: string, sessionId: string): { event: unknown; receivedAt: number }[] {
    return this.#of
      .all(roomId, sessionId)
      .map((row) => ({ event: JSON.parse(String(row['event'])) as unknown, receivedAt: Number(row['received_at']) }));
  }

  remove(eventId: string): void {
    this.#remove.run(eventId);
  }

  prune(before: number): void {
    this.#prune.run(before);
  }
}
