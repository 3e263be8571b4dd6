import { PassThrough } from 'node:stream';
import { Failure } from '../failures/failure.ts';
import { buffer } from '../stack/stream.ts';
import type { Destination, Stored } from './destinations/destination.ts';

/** A destination that failed, and is left out since. */
export interface Lost {
  destination: Destination;
  cause: unknown;
}

/** Bytes that the fastest of several may be ahead of the slowest. */
const ahead = 8 * buffer;

/** Several destinations that take the same from one stream. One that fails is left out from then on, and the others go on. */
export class FanOut {
  readonly #all: readonly Destination[];
  readonly #lost = new Map<Destination, Lost>();

  constructor(destinations: readonly Destination[]) {
    this.#all = destinations;
  }

  /** Those that have not failed; of some, or of all. */
  left(among: readonly Destination[] = this.#all): Destination[] {
    return among.filter((destination) => !this.#lost.has(destination));
  }

  get lost(): Lost[] {
    return [...this.#lost.values()];
  }

  /** Where an object goes to some of them, or to all: what one stored is what each stored. */
  to(among: readonly Destination[] = this.#all): Pick<Destination, 'put'> {
    return { put: (name, chunks) => this.#put(this.left(among), name, chunks) };
  }

  /** Does it in each that is left, all at once. @throws what the last one threw when none is left */
  async each(work: (destination: Destination) => Promise<void>, among?: readonly Destination[]): Promise<void> {
    const targets = this.left(among);
    this.#sort(targets, await Promise.allSettled(targets.map((destination) => work(destination))));
  }

  /** @throws what the source threw; what the last destination threw when none is left */
  async #put(targets: readonly Destination[], name: string, chunks: AsyncIterable<Uint8Array>): Promise<Stored> {
    const [only] = targets;
    const results =
      targets.length === 1 && only !== undefined
        ? await Promise.allSettled([only.put(name, chunks)])
        : await putInEach(targets, name, chunks);
    const [first, ...others] = this.#sort(targets, results);
    if (first === undefined) throw new TypeError(`nothing is left to put ${name} into`);
    const other = others.find(({ value }) => value.sha256 !== first.value.sha256);
    if (other === undefined) return first.value;
    // One stream went to both: memory or a library is broken, and nobody knows whose.
    throw new Failure('backup.destination-failed', {
      attempted: `store ${name}`,
      reason: `${first.destination.name} and ${other.destination.name} stored different bytes of one stream`,
    });
  }

  #sort<T>(targets: readonly Destination[], results: readonly PromiseSettledResult<T>[]): { destination: Destination; value: T }[] {
    const stored: { destination: Destination; value: T }[] = [];
    let last: Lost | null = null;
    for (const [n, result] of results.entries()) {
      const destination = targets[n] as Destination;
      if (result.status === 'fulfilled') stored.push({ destination, value: result.value });
      else {
        last = { destination, cause: result.reason };
        this.#lost.set(destination, last);
      }
    }
    if (stored.length === 0 && last !== null) throw last.cause;
    return stored;
  }
}

/** Reads the source once; the slowest of those that go on sets the pace. */
async function putInEach(
  targets: readonly Destination[],
  name: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<PromiseSettledResult<Stored>[]> {
  const lanes = targets.map((destination) => {
    const lane = new PassThrough({ highWaterMark: ahead });
    // Whoever reads it says what was wrong.
    lane.on('error', () => undefined);
    const stored = destination.put(name, lane);
    stored.catch(() => lane.destroy());
    return { lane, stored };
  });
  try {
    for await (const chunk of chunks) {
      // Each destination has chunks of its own.
      await Promise.all(lanes.map(({ lane }, n) => hand(lane, n === 0 ? chunk : new Uint8Array(chunk))));
      if (lanes.every(({ lane }) => lane.destroyed)) break;
    }
  } catch (error) {
    for (const { lane } of lanes) lane.destroy(error as Error);
    await Promise.allSettled(lanes.map(({ stored }) => stored));
    throw error;
  }
  for (const { lane } of lanes) if (!lane.destroyed) lane.end();
  return Promise.allSettled(lanes.map(({ stored }) => stored));
}

/** Resolves when there is room for more, or nobody reads any more. */
function hand(lane: PassThrough, chunk: Uint8Array): Promise<void> {
  if (lane.destroyed || lane.write(chunk)) return Promise.resolve();
  return new Promise((resolve) => {
    const go = (): void => {
      lane.off('drain', go).off('close', go);
      resolve();
    };
    lane.on('drain', go).on('close', go);
  });
}
