import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** How often the key of a room is changed, where the room asks for it. */
export interface Rotation {
  /** Milliseconds. */
  period: number | null;
  messages: number | null;
}

/** Rooms that have been seen encrypted. That is never unset, whatever a server says later. */
export class EncryptedRooms {
  readonly #add: StatementSync;
  readonly #get: StatementSync;
  readonly #count: StatementSync;

  constructor(store: Store) {
    const { database } = store;
    this.#add = database.prepare(
      `INSERT INTO encrypted_rooms (room_id, rotation_ms, rotation_messages, since) VALUES (?, ?, ?, ?)
       ON CONFLICT (room_id) DO UPDATE SET rotation_ms = excluded.rotation_ms, rotation_messages = excluded.rotation_messages`,
    );
    this.#get = database.prepare('SELECT rotation_ms, rotation_messages FROM encrypted_rooms WHERE room_id = ?');
    this.#count = database.prepare('SELECT count(*) AS n FROM encrypted_rooms');
  }

  /** @param at milliseconds since the epoch; that of the first call stays */
  add(roomId: string, rotation: Rotation, at: number): void {
    this.#add.run(roomId, rotation.period, rotation.messages, at);
  }

  has(roomId: string): boolean {
    return this.#get.get(roomId) !== undefined;
  }

  rotation(roomId: string): Rotation {
    const row = this.#get.get(roomId);
    const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);
    return { period: number(row?.['rotation_ms']), messages: number(row?.['rotation_messages']) };
  }

  get any(): boolean {
    return Number(this.#count.get()?.['n'] ?? 0) > 0;
  }
}
