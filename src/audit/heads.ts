import type { Clock } from '../clock.ts';
import type { Facts } from '../store/facts.ts';
import type { Store } from '../store/store.ts';
import type { SignedHead } from './head.ts';

const day = 24 * 3600 * 1000;

/**
 * Posts the head of the audit outside the store, where others hold it: once a day, over any number of restarts, and after
 * each catastrophic action. Who writes the audit anew must then also change what others have.
 */
export class HeadPosts {
  readonly #store: Store;
  readonly #facts: Facts;
  readonly #clock: Clock;
  readonly #head: () => SignedHead | null;
  readonly #post: (head: SignedHead) => void;

  /** @param post called in the transaction that remembers it */
  constructor(options: { store: Store; facts: Facts; clock: Clock; head: () => SignedHead | null; post: (head: SignedHead) => void }) {
    this.#store = options.store;
    this.#facts = options.facts;
    this.#clock = options.clock;
    this.#head = options.head;
    this.#post = options.post;
  }

  /** Posts the head when the last post is a day old; the first time a day after this was first called. */
  postDaily(): void {
    const now = this.#clock.now();
    const last = this.#facts.get('audit_head_at');
    if (last === null) this.#facts.set('audit_head_at', String(now));
    // A post of the future was made before the clock was set back.
    else if (now - Number(last) >= day || Number(last) > now) this.postNow();
  }

  postNow(): void {
    this.#store.transaction(() => {
      const head = this.#head();
      if (head === null) return;
      this.#facts.set('audit_head_at', String(this.#clock.now()));
      this.#post(head);
    });
  }
}
