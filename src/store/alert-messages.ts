import type { Store } from './store.ts';

/** A message that a channel has not taken. */
export interface Delivery {
  seq: number;
  ref: string;
  channel: string;
  /** JSON, as it was given. */
  message: string;
  tries: number;
  /** Milliseconds since the epoch. */
  nextAt: number;
  madeAt: number;
}

/** Messages about alerts, and which channel has them still to take. */
export class AlertMessages {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** @param alerts what the message tells of, by `seq` */
  add(ref: string, message: string, alerts: readonly number[], channels: readonly string[], at: number): void {
    const { database } = this.#store;
    database.prepare('INSERT INTO alert_messages (ref, message, made_at) VALUES (?, ?, ?)').run(ref, message, at);
    for (const alert of alerts) database.prepare('INSERT INTO alert_message_parts (ref, alert) VALUES (?, ?)').run(ref, alert);
    for (const channel of channels)
      database.prepare('INSERT INTO alert_deliveries (ref, channel, tries, next_at) VALUES (?, ?, 0, ?)').run(ref, channel, at);
  }

  /** What is still to be delivered, oldest first. */
  waiting(): Delivery[] {
    return this.#store.database
      .prepare('SELECT alert_deliveries.*, message, made_at FROM alert_deliveries JOIN alert_messages USING (ref) ORDER BY seq')
      .all()
      .map((row) => ({
        seq: Number(row['seq']),
        ref: String(row['ref']),
        channel: String(row['channel']),
        message: String(row['message']),
        tries: Number(row['tries']),
        nextAt: Number(row['next_at']),
        madeAt: Number(row['made_at']),
      }));
  }

  /** Delivered, or given up. */
  done(seq: number): void {
    this.#store.database.prepare('DELETE FROM alert_deliveries WHERE seq = ?').run(seq);
  }

  postpone(seq: number, tries: number, nextAt: number): void {
    this.#store.database.prepare('UPDATE alert_deliveries SET tries = ?, next_at = ? WHERE seq = ?').run(tries, nextAt, seq);
  }

  /** Forgets messages that were made before and have nothing to deliver. */
  prune(before: number): void {
    this.#store.database
      .prepare('DELETE FROM alert_messages WHERE made_at < ? AND ref NOT IN (SELECT ref FROM alert_deliveries)')
      .run(before);
  }
}
