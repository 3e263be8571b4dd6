import type { Clock } from '../clock.ts';
import type { Facts } from '../store/facts.ts';

/** A freeze: no write runs until thaw. */
export interface Frozen {
  /** What the person who froze it gave as reason. */
  reason: string;
  /** The person, or `shell`. */
  by: string;
  /** Milliseconds since the epoch. */
  at: number;
}

/** Whether Steward is frozen; kept in the store. */
export class Freeze {
  readonly #facts: Facts;
  readonly #clock: Clock;

  constructor(facts: Facts, clock: Clock) {
    this.#facts = facts;
    this.#clock = clock;
  }

  get state(): Frozen | null {
    const fact = this.#facts.get('frozen');
    return fact === null || fact === '' ? null : (JSON.parse(fact) as Frozen);
  }

  begin(reason: string, by: string): void {
    this.#facts.set('frozen', JSON.stringify({ reason, by, at: this.#clock.now() } satisfies Frozen));
  }

  end(): void {
    this.#facts.set('frozen', '');
  }
}
