import { createHash } from 'node:crypto';
import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

export interface DeviceSnapshot {
  userId: string;
  deviceId: string;
  /** Null when what lies there is not what was written. */
  snapshot: Buffer | null;
}

/** Of the file that brings Steward's identity back when the store is lost. */
export type RecoveryState = 'in place' | 'missing' | 'of another identity' | 'unreadable';

/** The device that encrypts, as it is now. */
export interface DeviceStatus {
  deviceId: string;
  /** Its own key, to be compared by eye: Ed25519, unpadded base64. */
  fingerprint: string;
  /** Whether Steward's identity has signed it. */
  signed: boolean;
  /** Master key of Steward's own identity, or null before there is one. */
  identity: string | null;
  /** Whether the private keys of that identity are here. */
  hasIdentityKeys: boolean;
  /** What lies where the identity's private keys are kept apart, and where that is. */
  recovery: { state: RecoveryState; name: string };
  /** Megolm sessions that are kept. */
  sessions: number;
  /** Size of the snapshot. */
  bytes: number;
}

/** The keys and sessions of the one device of this store, as one snapshot. */
export class DeviceStore {
  readonly #store: Store;
  readonly #put: StatementSync;
  readonly #get: StatementSync;
  readonly #id: StatementSync;

  constructor(store: Store) {
    this.#store = store;
    this.#put = store.database.prepare(
      `INSERT INTO device (id, user_id, device_id, snapshot, digest, taken_at) VALUES (1, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET snapshot = excluded.snapshot, digest = excluded.digest, taken_at = excluded.taken_at
       WHERE user_id = excluded.user_id AND device_id = excluded.device_id`,
    );
    this.#get = store.database.prepare('SELECT user_id, device_id, snapshot, digest FROM device');
    this.#id = store.database.prepare('SELECT device_id, length(snapshot) AS bytes FROM device');
  }

  get(): DeviceSnapshot | null {
    const row = this.#get.get();
    if (row === undefined) return null;
    const bytes = Buffer.from(row['snapshot'] as Uint8Array);
    const isWhole = digestOf(bytes).equals(row['digest'] as Uint8Array);
    return { userId: String(row['user_id']), deviceId: String(row['device_id']), snapshot: isWhole ? bytes : null };
  }

  /** The device and the size of its snapshot in bytes, without reading it; null when there is none. */
  about(): { deviceId: string; bytes: number } | null {
    const row = this.#id.get();
    return row === undefined ? null : { deviceId: String(row['device_id']), bytes: Number(row['bytes']) };
  }

  /** @throws TypeError when the store holds another device */
  put(userId: string, deviceId: string, snapshot: Uint8Array, at: number): void {
    if (this.#put.run(userId, deviceId, snapshot, digestOf(snapshot), at).changes !== 1)
      throw new TypeError('the store holds another device');
  }

  /**
   * Forgets the device, in the caller's transaction. What waits to be sent is encrypted again by the next device, which to
   * the homeserver is another sender: what this one may have sent without hearing so is kept to be looked for first.
   */
  forget(): void {
    this.#store.database.exec(`
      DELETE FROM device;
      DELETE FROM undecryptable;
      UPDATE outbox SET doubted = coalesce(encrypted, content), encrypted = NULL
        WHERE sent_at IS NULL AND (encrypted IS NOT NULL OR seq = (SELECT min(seq) FROM outbox WHERE sent_at IS NULL));
    `);
  }
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
