import type { AuditRow } from '../store/audit-rows.ts';
import { beginning } from './chain.ts';

/** A record and its hashes as a line of a file: canonical JSON of `{hash, prev, record}`, with a line feed. */
export function lineOf({ hash, prev, record }: Pick<AuditRow, 'hash' | 'prev' | 'record'>): string {
  return `{"hash":"${hash}","prev":"${prev}","record":${record}}\n`;
}

/** Where the parts of a line stand, in bytes from its start. The record ends with the last byte but one. */
export const at = { hash: 9, prev: 83, record: 158 } as const;

const frame = Buffer.from(lineOf({ hash: beginning, prev: beginning, record: '' }));
/** Bytes around the two hashes and before the record. */
const fixed = [...frame.subarray(0, at.record).entries()].filter(
  ([place]) => !(place >= at.hash && place < at.hash + 64) && !(place >= at.prev && place < at.prev + 64),
);
const places = Uint8Array.from(fixed, ([place]) => place);
const values = Uint8Array.from(fixed, ([, value]) => value);

/** Whether the bytes from `start` to `end` (without the line feed) are framed as a line. */
export function isLine(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start < at.record + 3 || bytes[end - 1] !== 0x7d) return false;
  for (let n = 0; n < places.length; n += 1) if (bytes[start + (places[n] ?? 0)] !== values[n]) return false;
  return true;
}

/** The number that a record gives itself, or null when it is no record. */
export function seqIn(record: string): number | null {
  try {
    const { seq } = JSON.parse(record) as { seq?: unknown };
    return typeof seq === 'number' ? seq : null;
  } catch {
    return null;
  }
}
