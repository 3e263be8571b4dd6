import type { Ids } from '../clock.ts';
import { MatrixRequestError } from './client.ts';

const shortest = 500;
const longest = 5 * 60_000;
/** Where nobody answers, asking costs nobody anything, and Steward is heard soon after Synapse is back. */
const longestUnanswered = 30_000;

/** How long to wait before the next try: what the server asked for, or twice as long each time, with jitter; milliseconds. */
export class Backoff {
  readonly #ids: Ids;
  #failures = 0;

  constructor(ids: Ids) {
    this.#ids = ids;
  }

  next(error: unknown): number {
    this.#failures += 1;
    if (error instanceof MatrixRequestError && error.retryAfter !== null) return Math.min(longest, error.retryAfter);
    // A homeserver that is being restarted is back in seconds: the first tries come soon.
    const most = error instanceof MatrixRequestError && error.isUnanswered ? longestUnanswered : longest;
    const exponential = Math.min(most, shortest * 2 ** Math.min(10, this.#failures - 1));
    return exponential * (0.5 + this.#ids.fraction() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
