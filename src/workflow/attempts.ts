import type { Clock } from '../clock.ts';

/** How often somebody has failed of late; in memory, because a restart costs an attacker more than it gives. */
export class Attempts {
  readonly #most: number;
  readonly #within: number;
  readonly #clock: Clock;
  readonly #failures = new Map<string, number[]>();

  /** @param within milliseconds */
  constructor(most: number, within: number, clock: Clock) {
    this.#most = most;
    this.#within = within;
    this.#clock = clock;
  }

  isExhausted(who: string): boolean {
    return this.#recent(who).length >= this.#most;
  }

  failed(who: string): void {
    this.#failures.set(who, [...this.#recent(who), this.#clock.monotonic()]);
  }

  #recent(who: string): number[] {
    const since = this.#clock.monotonic() - this.#within;
    return (this.#failures.get(who) ?? []).filter((at) => at > since);
  }
}
