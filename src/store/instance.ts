import { stat } from 'node:fs/promises';
import type { Ids } from '../clock.ts';
import type { Facts } from './facts.ts';
import type { Store } from './store.ts';

/** Which of several copies of a store acts: the one of the highest generation. Two of one generation are two that both took over. */
export interface Generation {
  generation: number;
  id: string;
}

/** What this store is among its copies: one of them may act, because all of them have the same token and the same device. */
export class Instance {
  readonly #store: Store;
  readonly #facts: Facts;
  readonly #ids: Ids;

  constructor(store: Store, facts: Facts, ids: Ids) {
    this.#store = store;
    this.#facts = facts;
    this.#ids = ids;
  }

  /**
   * Takes the store for a daemon. A copy of the file is another file: from now on it acts, on nothing old, and no other one.
   *
   * @param path the store's file
   */
  async claim(path: string, takeOver: boolean): Promise<void> {
    // A copy has another inode and another time of birth, whatever tool made it; a moved file, or its disk on another machine, has the same.
    const { ino, birthtimeNs } = await stat(path, { bigint: true });
    const file = `${ino}-${birthtimeNs}`;
    const known = this.#facts.get('store_file');
    const isCopy = known !== null && known !== file;
    this.#store.transaction(() => {
      this.#facts.set('store_file', file);
      if (takeOver || isCopy) {
        this.#facts.set('taking_over', 'true');
        this.#facts.remove('superseded');
        this.#facts.remove('sync_token');
      }
    });
  }

  get current(): Generation {
    const kept = this.#facts.get('instance');
    if (kept !== null) return JSON.parse(kept) as Generation;
    const first = { generation: 1, id: this.#ids.uuid() };
    this.#set(first);
    return first;
  }

  /** Whether this one is to act from now on, and the homeserver does not say so yet. */
  get takesOver(): boolean {
    return this.#facts.get('taking_over') !== null;
  }

  /** The next generation, above this one that was seen. */
  next(seen: number): Generation {
    const next = { generation: Math.max(seen, this.current.generation) + 1, id: this.#ids.uuid() };
    this.#set(next);
    return next;
  }

  /** The homeserver says that this one acts. */
  acts(): void {
    this.#facts.remove('taking_over');
    this.#facts.remove('superseded');
  }

  /** Whether a copy has taken over: nothing is changed by this one any more. */
  get isSuperseded(): boolean {
    return this.#facts.get('superseded') !== null;
  }

  superseded(): void {
    this.#facts.set('superseded', 'true');
  }

  #set(generation: Generation): void {
    this.#facts.set('instance', JSON.stringify(generation));
  }
}
