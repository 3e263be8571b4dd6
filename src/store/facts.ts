import type { Store } from './store.ts';

/**
 * `room_known`: what the room guard compares with, `room_moved`: the room that took the place of the configured one,
 * `device_reset`: how far `steward crypto reset` is, `store_file`: inode and birth of the store's file, `instance`: which of its copies it is,
 * `heartbeat`: the last that was due, and what became of it.
 */
export type FactName =
  | 'sync_token'
  | 'device_id'
  | 'room_id'
  | 'greeted'
  | 'descriptions'
  | 'invites_told'
  | 'audit_verified'
  | 'audit_head_at'
  | 'frozen'
  | 'lock_down'
  | 'room_known'
  | 'room_moved'
  | 'device_reset'
  | 'store_file'
  | 'instance'
  | 'superseded'
  | 'heartbeat'
  | 'taking_over';

/** Single values that must survive a restart. */
export class Facts {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get(name: FactName): string | null {
    const row = this.#store.database.prepare('SELECT value FROM facts WHERE name = ?').get(name);
    return typeof row?.['value'] === 'string' ? row['value'] : null;
  }

  set(name: FactName, value: string): void {
    this.#store.database
      .prepare('INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value')
      .run(name, value);
  }

  remove(name: FactName): void {
    this.#store.database.prepare('DELETE FROM facts WHERE name = ?').run(name);
  }
}
