import type { StatementSync } from 'node:sqlite';
import type { Store } from './store.ts';

/**
 * What a message of Steward is. A reaction means something on the prompt of a job, the countdown before it runs, a message
 * about alerts, the report of a scheduled run, a password in clear (`disclosed`); of a handed over password (`handover`) it is the sending that does.
 * On a prompt or countdown that a newer one has taken the place of (`superseded`) only a refusal means something.
 */
export type PostKind = 'prompt' | 'countdown' | 'alert' | 'report' | 'disclosed' | 'handover' | 'superseded';

export interface Post {
  kind: PostKind;
  /** What it is about: the job's id for a prompt and a countdown, the message's own for alerts, schedule and job of a report, the `ref` of a handover, the event id of a disclosed one. */
  ref: string;
}

/** Steward's own messages that take reactions, by event id. A reaction on any other message means nothing. */
export class Posts {
  readonly #find: StatementSync;
  readonly #supersede: StatementSync;
  readonly #add: StatementSync;

  constructor(store: Store) {
    const { database } = store;
    this.#find = database.prepare('SELECT kind, ref FROM posts WHERE event_id = ?');
    this.#supersede = database.prepare("UPDATE posts SET kind = 'superseded' WHERE kind = ? AND ref = ?");
    this.#add = database.prepare('INSERT INTO posts (event_id, kind, ref) VALUES (?, ?, ?)');
  }

  find(eventId: string): Post | null {
    const row = this.#find.get(eventId);
    return row === undefined ? null : { kind: row['kind'] as PostKind, ref: String(row['ref']) };
  }

  /** Takes the place of an earlier message of the same kind about the same thing. */
  put(eventId: string, post: Post): void {
    this.#supersede.run(post.kind, post.ref);
    this.#add.run(eventId, post.kind, post.ref);
  }
}
