import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/** `changed`: another cross-signing identity stands in place of the pinned one, and nobody has confirmed it. */
export type IdentityStanding = 'pinned' | 'unknown' | 'changed';

export interface Pin {
  /** Master cross-signing key: Ed25519, unpadded base64. */
  identity: string;
  /** Milliseconds since the epoch. */
  pinnedAt: number;
  /** The key that was seen in its place and is not confirmed, or null. */
  seen: string | null;
}

/** The cross-signing identity of each account that may command, as it was first seen. */
export class IdentityPins {
  readonly #get: StatementSync;
  readonly #put: StatementSync;
  readonly #seen: StatementSync;
  readonly #remove: StatementSync;

  constructor({ database }: Store) {
    this.#get = database.prepare('SELECT identity, pinned_at, seen FROM identity_pins WHERE user_id = ?');
    this.#put = database.prepare(
      `INSERT INTO identity_pins (user_id, identity, pinned_at) VALUES (?, ?, ?)
       ON CONFLICT (user_id) DO UPDATE SET identity = excluded.identity, pinned_at = excluded.pinned_at, seen = NULL, seen_at = NULL`,
    );
    this.#remove = database.prepare('DELETE FROM identity_pins WHERE user_id = ?');
    this.#seen = database.prepare('UPDATE identity_pins SET seen = ?, seen_at = ? WHERE user_id = ?');
  }

  get(userId: string): Pin | null {
    const row = this.#get.get(userId);
    return row === undefined
      ? null
      : {
          identity: String(row['identity']),
          pinnedAt: Number(row['pinned_at']),
          seen: typeof row['seen'] === 'string' ? row['seen'] : null,
        };
  }

  /**
   * Notes the identity that an account has now: the first one is pinned.
   *
   * @param at milliseconds since the epoch
   * @returns whether it is another than the one that is pinned, and was not known to be
   */
  observe(userId: string, identity: string, at: number): boolean {
    const pin = this.get(userId);
    if (pin === null) this.#put.run(userId, identity, at);
    else if (pin.identity === identity) {
      if (pin.seen !== null) this.#seen.run(null, null, userId);
    } else if (pin.seen !== identity) {
      this.#seen.run(identity, at, userId);
      return true;
    }
    return false;
  }

  /** Pins this identity in place of the one before. */
  pin(userId: string, identity: string, at: number): void {
    this.#put.run(userId, identity, at);
  }

  /** Forgets an account: the next identity is its first. */
  remove(userId: string): void {
    this.#remove.run(userId);
  }

  /** How a human stands, over all of their accounts: one that has changed is enough. */
  standing(userIds: readonly string[]): IdentityStanding {
    const pins = userIds.map((userId) => this.get(userId));
    if (pins.some((pin) => pin !== null && pin.seen !== null)) return 'changed';
    return pins.some((pin) => pin !== null) ? 'pinned' : 'unknown';
  }
}
