import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';

const window = 60_000;

/** How many commands a person may give in a minute. In memory: what was given before a restart does not count. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #config: () => Config;
  readonly #given = new Map<string, { at: number[]; told: boolean }>();

  constructor(clock: Clock, config: () => Config) {
    this.#clock = clock;
    this.#config = config;
  }

  /** Counts a command. @returns whether it is taken, refused with a word about it, or refused silently because that word was said */
  take(person: string): 'taken' | 'refused' | 'silent' {
    const now = this.#clock.monotonic();
    const given = this.#given.get(person) ?? { at: [], told: false };
    this.#given.set(person, given);
    given.at = given.at.filter((at) => at > now - window);
    if (given.at.length < this.#config().limits.perMinute) {
      given.at.push(now);
      given.told = false;
      return 'taken';
    }
    if (given.told) return 'silent';
    given.told = true;
    return 'refused';
  }
}
