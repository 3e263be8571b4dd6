export interface StoredObject {
  /** From the destination's top: `20261122_021500/manifest.json`. */
  name: string;
  bytes: number;
}

/** What a destination itself counted and hashed of what it stored. */
export interface Stored {
  bytes: number;
  /** Hex. */
  sha256: string;
}

/**
 * A place for backups. Names are segments of letters, digits and `. _ -`, parted by `/`.
 * Failures are `backup.destination-full`, `backup.destination-failed`, `backup.object-too-large`.
 */
export interface Destination {
  readonly name: string;
  /** Where it is, in words. */
  readonly place: string;
  /** How somebody who has nothing else finds it, beside `place`: an address, never a secret; null where `place` says it all. */
  readonly access: string | null;
  /** Bytes that one object may have; `Infinity` where nothing but space bounds it. */
  readonly largest: number;
  /**
   * Stores the chunks to their end. Atomic: the name is there whole and durable, or, when `chunks` throws or this does, not at
   * all; what was there before under the name is then still there. What `chunks` throws is thrown on. The chunks' memory is the
   * destination's, which may give it back.
   */
  put(name: string, chunks: AsyncIterable<Uint8Array>): Promise<Stored>;
  /** The object's bytes; throws `backup.missing` when it is not there. */
  get(name: string): AsyncIterable<Uint8Array>;
  /** Its size, or null when it is not there. */
  size(name: string): Promise<number | null>;
  /** Objects below a prefix that ends with `/`, or all for an empty one; in no order. Unfinished puts are not among them. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Removes one object. May be called twice. */
  remove(name: string): Promise<void>;
  /** Removes everything below a prefix that ends with `/`, unfinished puts too. May be called twice. */
  clear(prefix: string): Promise<void>;
  /** Removes what puts that were cut off left below a prefix that ends with `/`. May be called twice. */
  abandon(prefix: string): Promise<void>;
  /** Bytes that fit, or null where that cannot be told. */
  free(): Promise<number | null>;
}

const form = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** @throws TypeError for a name that could leave its place */
export function assertObjectName(name: string): void {
  if (!form.test(name)) throw new TypeError(`${JSON.stringify(name)} is no name for an object`);
}
