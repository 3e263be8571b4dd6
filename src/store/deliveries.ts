import type { Store } from './store.ts';

/** Which secrets lie in a sink, and until when; never the secrets. */
export class Deliveries {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  put(name: string, createdAt: number, expiresAt: number): void {
    this.#store.database
      .prepare(
        'INSERT INTO deliveries (name, created_at, expires_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET created_at = excluded.created_at, expires_at = excluded.expires_at',
      )
      .run(name, createdAt, expiresAt);
  }

  remove(name: string): void {
    this.#store.database.prepare('DELETE FROM deliveries WHERE name = ?').run(name);
  }

  /** When it expires (milliseconds since the epoch), or null when nothing of that name lies there. */
  expiry(name: string): number | null {
    const row = this.#store.database.prepare('SELECT expires_at FROM deliveries WHERE name = ?').get(name);
    return row === undefined ? null : Number(row['expires_at']);
  }

  /** Names of those whose time is over at `now`. */
  due(now: number): string[] {
    return this.#store.database
      .prepare('SELECT name FROM deliveries WHERE expires_at <= ?')
      .all(now)
      .map((row) => String(row['name']));
  }
}
