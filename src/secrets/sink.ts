import type { Secret } from '../config/secret.ts';

/** Something secret about an account, for a human to fetch outside the room. */
export interface SecretNote {
  userId: string;
  password: Secret;
  /** Shown beside the password, so that the note can be forwarded. */
  homeserverUrl: string;
}

/** Where a secret lies; told to the room in its place. */
export interface Delivery {
  /** The kind of sink: `file`. */
  sink: string;
  /** Its name there: a path on the host. */
  name: string;
  /** Milliseconds since the epoch. */
  expiresAt: number;
}

/**
 * A place for secrets outside the room. `put` is atomic and durable: when it returns, the note is there whole, also
 * after a power loss; when it throws, what was there before is still there. Putting again for the same account replaces
 * the note, which is kept aside until `keep` or `withdraw` says whether the new one is true. These and `remove` may be
 * called twice.
 */
export interface SecretSink {
  readonly kind: string;
  /** @throws Failure `secret.not-stored` */
  put(note: SecretNote): Promise<Delivery>;
  /** What lies there for an account, or null. */
  find(userId: string): Delivery | null;
  /** The note of an account as a human reads it, or null when there is none. */
  read(userId: string): Promise<string | null>;
  /** False between `put` over an earlier note and `keep` or `withdraw`: it is not known yet which of the two is true. */
  isSettled(userId: string): boolean;
  /** The password was set: what its note replaced goes. */
  keep(userId: string): Promise<void>;
  /** The password was not set: its note goes, and what it replaced comes back. */
  withdraw(userId: string): Promise<void>;
  remove(userId: string): Promise<void>;
  /** Writes into the note that the account was deactivated, where there is one. */
  markDeactivated(userId: string, at: number): Promise<void>;
  /** Removes what has expired at `now`; returns how many. */
  expire(now: number): Promise<number>;
}
