import type { SQLOutputValue } from 'node:sqlite';
import type { Store } from './store.ts';

/** An alert as it is kept. Times are milliseconds since the epoch; null: it has not happened. */
export interface AlertRow {
  seq: number;
  id: string;
  /** Which of its kind: a user id, a line of the doctor; empty where there is only one. */
  subject: string;
  detail: string;
  next: string;
  /** Told once, and nothing to be resolved. */
  event: boolean;
  raisedAt: number;
  resolvedAt: number | null;
  toldAt: number | null;
  resolutionToldAt: number | null;
  mutedUntil: number | null;
  /** The person who has taken it. */
  owner: string | null;
}

export type NewAlert = Pick<AlertRow, 'id' | 'subject' | 'detail' | 'next' | 'event' | 'raisedAt' | 'mutedUntil'>;

export class AlertStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  add(alert: NewAlert): void {
    this.#store.database
      .prepare('INSERT INTO alerts (id, subject, detail, next, event, raised_at, muted_until) VALUES (?, ?, ?, ?, ?, ?, ?)')
      .run(alert.id, alert.subject, alert.detail, alert.next, alert.event ? 1 : 0, alert.raisedAt, alert.mutedUntil);
  }

  /** The one that stands, or null. */
  standing(id: string, subject: string): AlertRow | null {
    return this.#first('SELECT * FROM alerts WHERE id = ? AND subject = ? AND resolved_at IS NULL AND event = 0', id, subject);
  }

  /** The last of its kind, standing or not, or null. */
  latest(id: string, subject: string): AlertRow | null {
    return this.#first('SELECT * FROM alerts WHERE id = ? AND subject = ? ORDER BY seq DESC LIMIT 1', id, subject);
  }

  allStanding(): AlertRow[] {
    return this.#all('SELECT * FROM alerts WHERE resolved_at IS NULL AND event = 0 ORDER BY seq');
  }

  /** Those of which something may have to be told: what stands, events, and ends that were not told. */
  open(): AlertRow[] {
    return this.#all(
      `SELECT * FROM alerts WHERE (resolved_at IS NULL AND (event = 0 OR told_at IS NULL))
         OR (resolved_at IS NOT NULL AND told_at IS NOT NULL AND resolution_told_at IS NULL) ORDER BY seq`,
    );
  }

  /** The alerts that a message told of. */
  ofMessage(ref: string): AlertRow[] {
    return this.#all('SELECT alerts.* FROM alert_message_parts JOIN alerts ON alerts.seq = alert WHERE ref = ? ORDER BY alerts.seq', ref);
  }

  setDetail(seq: number, detail: string, next: string): void {
    this.#store.database.prepare('UPDATE alerts SET detail = ?, next = ? WHERE seq = ?').run(detail, next, seq);
  }

  resolve(seq: number, at: number): void {
    this.#store.database.prepare('UPDATE alerts SET resolved_at = ? WHERE seq = ?').run(at, seq);
  }

  told(seq: number, at: number): void {
    this.#store.database.prepare('UPDATE alerts SET told_at = ? WHERE seq = ?').run(at, seq);
  }

  resolutionTold(seq: number, at: number): void {
    this.#store.database.prepare('UPDATE alerts SET resolution_told_at = ? WHERE seq = ?').run(at, seq);
  }

  mute(seq: number, until: number): void {
    this.#store.database.prepare('UPDATE alerts SET muted_until = ? WHERE seq = ?').run(until, seq);
  }

  own(seq: number, person: string): void {
    this.#store.database.prepare('UPDATE alerts SET owner = ? WHERE seq = ?').run(person, seq);
  }

  remove(seq: number): void {
    this.#store.database.prepare('DELETE FROM alerts WHERE seq = ?').run(seq);
  }

  /** Forgets what ended before. */
  prune(before: number): void {
    this.#store.database.prepare('DELETE FROM alerts WHERE resolved_at < ? OR (event = 1 AND told_at < ?)').run(before, before);
  }

  #first(sql: string, ...values: string[]): AlertRow | null {
    const row = this.#store.database.prepare(sql).get(...values);
    return row === undefined ? null : alertOf(row);
  }

  #all(sql: string, ...values: string[]): AlertRow[] {
    return this.#store.database
      .prepare(sql)
      .all(...values)
      .map(alertOf);
  }
}

const timeOf = (value: SQLOutputValue | undefined): number | null => (value == null ? null : Number(value));

function alertOf(row: Record<string, SQLOutputValue>): AlertRow {
  return {
    seq: Number(row['seq']),
    id: String(row['id']),
    subject: String(row['subject']),
    detail: String(row['detail']),
    next: String(row['next']),
    event: row['event'] === 1,
    raisedAt: Number(row['raised_at']),
    resolvedAt: timeOf(row['resolved_at']),
    toldAt: timeOf(row['told_at']),
    resolutionToldAt: timeOf(row['resolution_told_at']),
    mutedUntil: timeOf(row['muted_until']),
    owner: row['owner'] === null ? null : String(row['owner']),
  };
}
