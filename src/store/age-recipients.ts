import type { Store } from './store.ts';

export interface AgeRecipient {
  recipient: string;
  /** Milliseconds since the epoch. */
  registeredAt: number;
}

/** To whom files for a person are encrypted: one recipient each. */
export class AgeRecipients {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  of(person: string): AgeRecipient | null {
    const row = this.#store.database.prepare('SELECT recipient, registered_at FROM age_recipients WHERE person = ?').get(person);
    return row === undefined ? null : { recipient: String(row['recipient']), registeredAt: Number(row['registered_at']) };
  }

  /** Whose it is, or null. */
  personOf(recipient: string): string | null {
    const row = this.#store.database.prepare('SELECT person FROM age_recipients WHERE recipient = ? ORDER BY person').get(recipient);
    return row === undefined ? null : String(row['person']);
  }

  /** Takes the place of the person's earlier one. */
  put(person: string, recipient: string, at: number): void {
    this.#store.database
      .prepare(
        'INSERT INTO age_recipients (person, recipient, registered_at) VALUES (?, ?, ?) ON CONFLICT (person) DO UPDATE SET recipient = excluded.recipient, registered_at = excluded.registered_at',
      )
      .run(person, recipient, at);
  }

  remove(person: string): void {
    this.#store.database.prepare('DELETE FROM age_recipients WHERE person = ?').run(person);
  }
}
