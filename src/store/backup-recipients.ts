import type { Store } from './store.ts';

export interface BackupRecipient {
  /** `age1…` */
  recipient: string;
  /** Whether backups are sealed to it. */
  isAccepted: boolean;
  /** When its owner has shown to be able to open what is sealed to it; milliseconds since the epoch, or null. */
  confirmedAt: number | null;
}

/** Whom backups are sealed to, and who has shown to be able to open them. */
export class BackupRecipients {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Sorted, also those that backups are not sealed to any more. */
  all(): BackupRecipient[] {
    return this.#store.database
      .prepare('SELECT * FROM backup_recipients ORDER BY recipient')
      .all()
      .map((row) => ({
        recipient: String(row['recipient']),
        isAccepted: row['accepted_at'] !== null,
        confirmedAt: row['confirmed_at'] === null ? null : Number(row['confirmed_at']),
      }));
  }

  /** These and no others from now on. What they have shown stays. */
  accept(recipients: readonly string[], at: number): void {
    this.#store.transaction(() => {
      this.#store.database.prepare('UPDATE backup_recipients SET accepted_at = NULL').run();
      const put = this.#store.database.prepare(
        'INSERT INTO backup_recipients (recipient, accepted_at) VALUES (?, ?) ON CONFLICT (recipient) DO UPDATE SET accepted_at = excluded.accepted_at',
      );
      for (const recipient of recipients) put.run(recipient, at);
    });
  }

  /** Keeps the first time. */
  confirm(recipient: string, at: number): void {
    this.#store.database
      .prepare(
        'INSERT INTO backup_recipients (recipient, confirmed_at) VALUES (?, ?) ON CONFLICT (recipient) DO UPDATE SET confirmed_at = coalesce(confirmed_at, excluded.confirmed_at)',
      )
      .run(recipient, at);
  }
}
