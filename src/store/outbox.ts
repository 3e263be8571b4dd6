import type { StatementSync } from 'node:sqlite';
import type { Post, PostKind } from './posts.ts';
import type { Store } from './store.ts';

/** `message` and `reaction` are events, `redaction` a redaction, `file` an upload and then a message about it, `secret` a message whose text is fetched where it is encrypted and never kept here. */
export type OutboxKind = 'm.room.message' | 'm.reaction' | 'redaction' | 'file' | 'secret';

export interface OutboxEntry {
  seq: number;
  txnId: string;
  roomId: string;
  kind: OutboxKind;
  content: Record<string, unknown>;
  /** The entry whose event this one is about (reaction, edit): its event id goes into `m.relates_to.event_id`. */
  aboutTxn: string | null;
  /** Path of the file to upload. */
  file: string | null;
  /** What this message is, where a reaction on it means something. */
  post: Post | null;
  /** The content of the `m.room.encrypted` that it became, or null as long as it is plain. */
  encrypted: Record<string, unknown> | null;
  /** The content that a device which is gone now may have sent, or null. */
  doubted: Record<string, unknown> | null;
}

export type NewOutboxEntry = Pick<OutboxEntry, 'txnId' | 'roomId' | 'kind' | 'content'> &
  Partial<Pick<OutboxEntry, 'aboutTxn' | 'file' | 'post'>>;

export class Outbox {
  readonly #add: StatementSync;
  readonly #next: StatementSync;
  readonly #sent: StatementSync;
  readonly #failed: StatementSync;
  readonly #encrypted: StatementSync;
  readonly #eventOf: StatementSync;
  readonly #pending: StatementSync;
  readonly #prune: StatementSync;

  constructor(store: Store) {
    const { database } = store;
    this.#add = database.prepare(
      'INSERT OR IGNORE INTO outbox (txn_id, room_id, kind, content, about_txn, file, post_kind, post_ref, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#next = database.prepare('SELECT * FROM outbox WHERE sent_at IS NULL ORDER BY seq LIMIT 1');
    this.#sent = database.prepare(
      'UPDATE outbox SET sent_at = ?, event_id = ?, content = NULL, encrypted = NULL, doubted = NULL WHERE seq = ?',
    );
    this.#failed = database.prepare(
      'UPDATE outbox SET sent_at = ?, error = ?, content = NULL, encrypted = NULL, doubted = NULL WHERE seq = ?',
    );
    this.#encrypted = database.prepare('UPDATE outbox SET encrypted = ?, doubted = NULL WHERE seq = ? AND sent_at IS NULL');
    this.#eventOf = database.prepare('SELECT event_id FROM outbox WHERE txn_id = ?');
    this.#pending = database.prepare('SELECT count(*) AS n FROM outbox WHERE sent_at IS NULL');
    this.#prune = database.prepare('DELETE FROM outbox WHERE sent_at < ?');
  }

  /** Adds an entry; one of the same transaction id that is there already stays as it is. */
  add(entry: NewOutboxEntry, at: number): void {
    this.#add.run(
      entry.txnId,
      entry.roomId,
      entry.kind,
      JSON.stringify(entry.content),
      entry.aboutTxn ?? null,
      entry.file ?? null,
      entry.post?.kind ?? null,
      entry.post?.ref ?? null,
      at,
    );
  }

  next(): OutboxEntry | null {
    const row = this.#next.get();
    if (row === undefined) return null;
    return {
      seq: Number(row['seq']),
      txnId: String(row['txn_id']),
      roomId: String(row['room_id']),
      kind: row['kind'] as OutboxKind,
      content: JSON.parse(String(row['content'])) as Record<string, unknown>,
      aboutTxn: row['about_txn'] === null ? null : String(row['about_txn']),
      file: row['file'] === null ? null : String(row['file']),
      post: row['post_kind'] === null ? null : { kind: row['post_kind'] as PostKind, ref: String(row['post_ref']) },
      encrypted: row['encrypted'] === null ? null : (JSON.parse(String(row['encrypted'])) as Record<string, unknown>),
      doubted: row['doubted'] === null ? null : (JSON.parse(String(row['doubted'])) as Record<string, unknown>),
    };
  }

  /** The event an entry became, or null when it is not sent or was refused. */
  eventOf(txnId: string): string | null {
    const id = this.#eventOf.get(txnId)?.['event_id'];
    return typeof id === 'string' ? id : null;
  }

  /** Whether an entry of this transaction id was ever added. */
  has(txnId: string): boolean {
    return this.#eventOf.get(txnId) !== undefined;
  }

  /** Keeps what an entry was encrypted to: that is what is sent, however often. */
  setEncrypted(seq: number, content: Record<string, unknown>): void {
    this.#encrypted.run(JSON.stringify(content), seq);
  }

  sent(seq: number, eventId: string, at: number): void {
    this.#sent.run(at, eventId, seq);
  }

  /** The server will never take it. */
  failed(seq: number, error: string, at: number): void {
    this.#failed.run(at, error, seq);
  }

  pending(): number {
    return Number(this.#pending.get()?.['n'] ?? 0);
  }

  prune(before: number): void {
    this.#prune.run(before);
  }
}
