import { keysOf, removeKeys, valuesOf } from './indexed-db.ts';

const storeName = 'inbound_group_sessions3';
/** Sessions of one sender in one room that are kept: what was encrypted several changes of the key ago is older than any command. */
const keptOfOne = 4;

/** What is read of a stored session; the rest belongs to the crypto library. */
interface StoredSession {
  session_id?: unknown;
  sender_key?: unknown;
}

/** Takes Megolm sessions out of the store that can no longer be needed: it would grow with every message otherwise. */
export class SessionPruner {
  readonly #database: string;
  readonly #own: string;
  /** Keys of the stored sessions in the order in which they came. */
  #order: string[];
  #looked = -1;

  /** @param ownKey this device's Curve25519 key: of what it has sent it needs no more than the session it sends with */
  constructor(database: string, ownKey: string, order: readonly string[]) {
    this.#database = database;
    this.#own = ownKey;
    this.#order = [...order];
  }

  get order(): string[] {
    return this.#order;
  }

  async prune(): Promise<void> {
    const keys = (await keysOf(this.#database, storeName)).filter((key) => typeof key === 'string');
    if (keys.length === this.#looked) return;
    const there = new Set(keys);
    const known = this.#order.filter((key) => there.has(key));
    this.#order = [...known, ...keys.filter((key) => !known.includes(key))];
    const old = this.#old(await valuesOf(this.#database, storeName));
    if (old.length > 0) await removeKeys(this.#database, storeName, old);
    this.#order = this.#order.filter((key) => !old.includes(key));
    this.#looked = this.#order.length;
  }

  #old(sessions: readonly unknown[]): string[] {
    const senders = new Map<string, string>();
    for (const session of sessions as readonly StoredSession[])
      if (typeof session.session_id === 'string' && typeof session.sender_key === 'string')
        senders.set(session.session_id, session.sender_key);
    const newer = new Map<string, number>();
    const old: string[] = [];
    for (const key of this.#order.toReversed()) {
      const [roomId = '', sessionId = ''] = key.split('\u001d');
      const sender = senders.get(sessionId);
      // A form that is not known is left alone.
      if (sender === undefined) continue;
      const count = newer.get(`${roomId} ${sender}`) ?? 0;
      newer.set(`${roomId} ${sender}`, count + 1);
      if (count >= (sender === this.#own ? 1 : keptOfOne)) old.push(key);
    }
    return old;
  }
}
