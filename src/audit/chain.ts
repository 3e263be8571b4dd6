import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';

/** What the first record of a chain follows. */
export const beginning = '0'.repeat(64);

/** Hash of a record: SHA-256, in hex, over the hash of the record before (64 hex digits) and the record's canonical JSON. */
export function hashOf(prev: string, record: string): string {
  return hash('sha256', prev + record);
}

/** Canonical JSON (RFC 8785). */
export function canonical(value: unknown): string {
  const json = canonicalize(value);
  if (json === undefined) throw new TypeError('a record must be JSON');
  return json;
}
