import { hash } from 'node:crypto';
import { beginning } from './chain.ts';
import { isSigned, type SignedHead } from './head.ts';
import { at, isLine, seqIn } from './line.ts';

/** What is wrong with a record. */
export type Fault =
  /** Its content is not what was hashed. */
  | 'changed'
  /** Another comes where it should be, and it comes nowhere or later. */
  | 'missing'
  /** It stands again, or after what came later. */
  | 'moved'
  /** Its number is right, and it does not hold the hash of the one before. */
  | 'unlinked'
  /** It is not whole, or no record. */
  | 'cut'
  /** The signed head is not of this chain, or its signature is wrong. */
  | 'unsigned';

export interface Verdict {
  /** How many records are in order, from the first that was read. */
  records: number;
  /** Number of the last that is in order, 0 when there is none. */
  seq: number;
  /** Its hash, or null when there is none. */
  head: string | null;
  /** The first that is not in order. */
  broken: { seq: number; fault: Fault } | null;
  /** The signed head that ends an exported file. */
  signed: SignedHead | null;
  /** Whether the hash that was looked for is of one of the records. */
  found: boolean;
}

const lineFeed = 0x0a;
/** A signed head is a line of its own, the last one: `{"head":{…}}`. */
const headFrame = '{"head":';

/**
 * Checks a chain as its bytes come, in one pass. JSON is parsed of the first record and of a broken one only: the hash
 * covers the rest.
 */
export class ChainCheck {
  readonly #wanted: string | null;
  #rest: Buffer = Buffer.alloc(0);
  #first: number | null = null;
  #records = 0;
  #last: string | null;
  #broken: Verdict['broken'] = null;
  #signed: SignedHead | null = null;
  #found = false;

  /**
   * @param after the record that the first one must follow; null takes it as it is
   * @param wanted a hash to look for
   */
  constructor(after: { seq: number; hash: string } | null = null, wanted: string | null = null) {
    this.#first = after === null ? null : after.seq + 1;
    this.#last = after?.hash ?? null;
    this.#wanted = wanted;
    this.#found = wanted !== null && wanted === this.#last;
  }

  /** Takes the next bytes, and may change them. @returns false when the chain is broken, and no more need be read */
  push(chunk: Buffer): boolean {
    if (this.#broken !== null) return false;
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(lineFeed); end !== -1; end = bytes.indexOf(lineFeed, start)) {
      if (!this.#line(bytes, start, end)) return false;
      start = end + 1;
    }
    // A copy: what was given may be used again.
    this.#rest = Buffer.from(bytes.subarray(start));
    return true;
  }

  end(): Verdict {
    if (this.#broken === null && this.#rest.length > 0) this.#break('cut');
    return {
      records: this.#records,
      seq: this.#records === 0 ? (this.#first ?? 1) - 1 : this.#expected - 1,
      head: this.#last,
      broken: this.#broken,
      signed: this.#signed,
      found: this.#found,
    };
  }

  get #expected(): number {
    return (this.#first ?? 1) + this.#records;
  }

  #line(bytes: Buffer, start: number, end: number): boolean {
    if (this.#signed !== null) return this.#break('unsigned');
    if (!isLine(bytes, start, end)) return this.#head(bytes.toString('utf8', start, end));
    const record = start + at.record;
    const own = bytes.toString('latin1', start + at.hash, start + at.hash + 64);
    const prev = bytes.toString('latin1', start + at.prev, start + at.prev + 64);
    if (this.#first === null) {
      this.#first = seqIn(bytes.toString('utf8', record, end - 1));
      if (this.#first === null) return this.#break('cut');
      if (this.#first === 1 && prev !== beginning) return this.#break('unlinked');
    } else if (prev !== this.#last && this.#last !== null) {
      const seq = seqIn(bytes.toString('utf8', record, end - 1)) ?? this.#expected;
      return this.#break(seq > this.#expected ? 'missing' : seq < this.#expected ? 'moved' : 'unlinked');
    }
    // The hashed bytes are made contiguous in place: the digits of `prev`, then the record.
    bytes.copyWithin(record - 64, start + at.prev, start + at.prev + 64);
    if (hash('sha256', bytes.subarray(record - 64, end - 1), 'hex') !== own) return this.#break('changed');
    this.#records += 1;
    this.#last = own;
    if (own === this.#wanted) this.#found = true;
    return true;
  }

  #head(line: string): boolean {
    if (!line.startsWith(headFrame)) return this.#break('cut');
    try {
      const { head } = JSON.parse(line) as { head: SignedHead };
      if (head.hash !== this.#last || head.seq !== this.#expected - 1 || !isSigned(head)) return this.#break('unsigned');
      this.#signed = head;
      return true;
    } catch {
      return this.#break('cut');
    }
  }

  #break(fault: Fault): false {
    this.#broken = { seq: this.#expected, fault };
    return false;
  }
}

/** A fault as the end of "record 7 …". */
export const faultWords: Record<Fault, string> = {
  changed: 'was changed',
  missing: 'is missing',
  moved: 'is not where it was written',
  unlinked: 'does not follow the one before it',
  cut: 'is not whole',
  unsigned: 'is not what the signed head says',
};
