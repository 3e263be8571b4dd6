import { steward, type Audit } from '../audit/audit.ts';
import type { Facts } from '../store/facts.ts';
import type { Store } from '../store/store.ts';

export interface LockReason {
  /** Which alert tells of it. */
  kind: 'stranger' | 'replaced' | 'power-lost';
  /** The account, or the room. */
  subject: string;
  detail: string;
}

/** Reads only, until an owner has looked: kept in the store, so that no restart ends it. */
export class LockDown {
  readonly #store: Store;
  readonly #facts: Facts;
  readonly #audit: Audit;

  constructor(store: Store, facts: Facts, audit: Audit) {
    this.#store = store;
    this.#facts = facts;
    this.#audit = audit;
  }

  /** Why, oldest first; empty when there is none. */
  get reasons(): readonly LockReason[] {
    return JSON.parse(this.#facts.get('lock_down') ?? '[]') as LockReason[];
  }

  /** Joins the caller's transaction. @returns false when it stands for that reason already */
  begin(reason: LockReason): boolean {
    const reasons = this.reasons;
    if (reasons.some(({ kind, subject }) => kind === reason.kind && subject === reason.subject)) return false;
    this.#store.transaction(() => {
      this.#facts.set('lock_down', JSON.stringify([...reasons, reason]));
      this.#audit.record({ event: 'room.locked', actor: steward, targets: [reason.subject], detail: { kind: reason.kind } });
    });
    return true;
  }

  /** @param by who has looked @returns the reasons that it had */
  end(by: string): readonly LockReason[] {
    const reasons = this.reasons;
    if (reasons.length === 0) return reasons;
    this.#store.transaction(() => {
      this.#facts.set('lock_down', '[]');
      this.#audit.record({ event: 'room.unlocked', actor: steward, targets: reasons.map(({ subject }) => subject), detail: { by } });
    });
    return reasons;
  }
}
