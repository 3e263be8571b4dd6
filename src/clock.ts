import { randomBytes, randomUUID } from 'node:crypto';

/** The one source of time: milliseconds since the epoch, and timers. Lint forbids the language's own elsewhere. */
export interface Clock {
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  now(): number;
  /** Milliseconds that only ever grow; for durations. */
  monotonic(): number;
  /** Resolves after `ms` milliseconds, or at once (without an error) when `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Seconds since a time of `clock.monotonic()`, in tenths: for people. */
export const secondsSince = (clock: Clock, started: number): number => Math.round((clock.monotonic() - started) / 100) / 10;

/** The one source of chance and ids. */
export interface Ids {
  /** A new random id: lower-case letters and digits, `length` characters long, sorting by nothing. */
  short(length: number): string;
  uuid(): string;
  /** `length` characters drawn evenly from `alphabet`, from the system's secure source. */
  secret(alphabet: string, length: number): string;
  /** A number in [0, 1), for jitter only. */
  fraction(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) {
        resolve();
        return;
      }
      const timer = setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      }
      signal?.addEventListener('abort', done);
    }),
};

const shortAlphabet = 'abcdefghjkmnpqrstvwxyz23456789';

export const systemIds: Ids = {
  short: (length) => draw(shortAlphabet, length),
  uuid: () => randomUUID(),
  secret: draw,
  fraction: () => randomBytes(4).readUInt32BE() / 2 ** 32,
};

function draw(alphabet: string, length: number): string {
  const limit = 256 - (256 % alphabet.length);
  let drawn = '';
  while (drawn.length < length) {
    for (const byte of randomBytes(length)) {
      // A byte past the last whole multiple would favour the first characters.
      if (byte < limit && drawn.length < length) drawn += alphabet.charAt(byte % alphabet.length);
    }
  }
  return drawn;
}
