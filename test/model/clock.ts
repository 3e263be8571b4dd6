import type { Clock } from '../../src/clock.ts';

interface Sleeper {
  at: number;
  wake: () => void;
}

/** Time that moves only when it is told to. The wall clock may jump; what sleeps goes by the other one. */
export class ModelClock implements Clock {
  #elapsed = 0;
  #offset: number;
  #sleepers: Sleeper[] = [];

  /** @param start milliseconds since the epoch */
  constructor(start: number) {
    this.#offset = start;
  }

  now(): number {
    return this.#offset + this.#elapsed;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const wake = (): void => {
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const sleeper: Sleeper = { at: this.#elapsed + Math.max(0, ms), wake };
      const end = (): void => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        wake();
      };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', end);
    });
  }

  /** Sets the wall clock forward, or back where `ms` is negative. */
  jump(ms: number): void {
    this.#offset += ms;
  }

  /** Moves on by `ms`, from one sleeper to the next; `settle` lets what woke up run. */
  async advance(ms: number, settle: () => Promise<void>): Promise<void> {
    const end = this.#elapsed + ms;
    for (;;) {
      const next = this.#sleepers.reduce<Sleeper | null>((first, other) => (first === null || other.at < first.at ? other : first), null);
      if (next === null || next.at > end) break;
      this.#elapsed = Math.max(this.#elapsed, next.at);
      this.#sleepers = this.#sleepers.filter((other) => other !== next);
      next.wake();
      await settle();
    }
    this.#elapsed = end;
  }

  /** Moves on by `ms` at once, as for a machine that was asleep: what should have woken on the way wakes now. */
  leap(ms: number): void {
    this.#elapsed += ms;
    const due = this.#sleepers.filter((sleeper) => sleeper.at <= this.#elapsed).sort((one, other) => one.at - other.at);
    this.#sleepers = this.#sleepers.filter((sleeper) => !due.includes(sleeper));
    for (const sleeper of due) sleeper.wake();
  }

  /** The clock of one process: nothing that sleeps by it wakes after `end`. */
  process(): Clock & { end(): void } {
    let ended = false;
    return {
      now: () => this.now(),
      monotonic: () => this.monotonic(),
      sleep: async (ms, signal) => {
        await this.sleep(ms, signal);
        if (ended) await new Promise<never>(() => undefined);
      },
      end: () => {
        ended = true;
      },
    };
  }
}
