import type { Store } from './store.ts';

export interface DirectRoom {
  roomId: string;
  /** What it was made for: a handover's `ref`. */
  madeFor: string;
}

/** The room in which a person is alone with Steward, encrypted from its beginning: one an account. */
export class DirectRooms {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  of(userId: string): DirectRoom | null {
    const row = this.#store.database.prepare('SELECT room_id, made_for FROM direct_rooms WHERE user_id = ?').get(userId);
    return row === undefined ? null : { roomId: String(row['room_id']), madeFor: String(row['made_for']) };
  }

  put(userId: string, room: DirectRoom): void {
    this.#store.database
      .prepare('INSERT OR REPLACE INTO direct_rooms (user_id, room_id, made_for) VALUES (?, ?, ?)')
      .run(userId, room.roomId, room.madeFor);
  }

  /** Whose it is, or null when it is none of them. */
  userOf(roomId: string): string | null {
    const row = this.#store.database.prepare('SELECT user_id FROM direct_rooms WHERE room_id = ?').get(roomId);
    return row === undefined ? null : String(row['user_id']);
  }
}
