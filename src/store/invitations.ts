import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** An invitation to a room that is not the admin room. */
export interface Invitation {
  roomId: string;
  inviter: string;
}

/** Invitations that are not declined yet: no sync brings them a second time. */
export class Invitations {
  readonly #add: StatementSync;
  readonly #all: StatementSync;
  readonly #remove: StatementSync;

  constructor({ database }: Store) {
    this.#add = database.prepare(
      'INSERT INTO invitations (room_id, inviter) VALUES (?, ?) ON CONFLICT (room_id) DO UPDATE SET inviter = excluded.inviter',
    );
    this.#all = database.prepare('SELECT room_id, inviter FROM invitations ORDER BY rowid');
    this.#remove = database.prepare('DELETE FROM invitations WHERE room_id = ?');
  }

  add({ roomId, inviter }: Invitation): void {
    this.#add.run(roomId, inviter);
  }

  /** Oldest first. */
  all(): Invitation[] {
    return this.#all.all().map((row) => ({ roomId: String(row['room_id']), inviter: String(row['inviter']) }));
  }

  remove(roomId: string): void {
    this.#remove.run(roomId);
  }
}
