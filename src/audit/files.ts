import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../failures/failure.ts';
import type { AuditRow, AuditRows } from '../store/audit-rows.ts';
import { storeFailure } from '../store/store.ts';
import { at, isLine, lineOf, seqIn } from './line.ts';

/** Records that are read and written at once. */
const page = 1000;
const tail = 64 * 1024;

/** Where the last record of the files ends. */
export interface FilePosition {
  file: string;
  offset: number;
}

/**
 * The audit as files, one a month: `audit/2026-11.jsonl`. Written after each commit; what a crash left out is added by the
 * next start, what it cut is cut off, so that the files have every record of the store, once. Ships with any log shipper.
 */
export class AuditFiles {
  readonly #dir: string;
  readonly #rows: AuditRows;
  #fd: number | null = null;
  #name: string | null = null;
  #seq: number;
  readonly #aside: string[] = [];

  /** Takes up where the files end. @throws Failure `audit.unwritable` */
  constructor(dir: string, rows: AuditRows) {
    this.#dir = dir;
    this.#rows = rows;
    try {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      this.#seq = this.#takeUp();
    } catch (error) {
      throw unwritable(storeFailure(error, 'open the files of the audit'));
    }
  }

  /** Number of the last record in the files. */
  get seq(): number {
    return this.#seq;
  }

  /** Names of the files that were set aside because the store did not have their last record. */
  get aside(): readonly string[] {
    return this.#aside;
  }

  /** Where the files end, or null when there are none. */
  get position(): FilePosition | null {
    return this.#fd === null || this.#name === null ? null : { file: this.#name, offset: fstatSync(this.#fd).size };
  }

  /** Names of the files, in order. */
  names(): string[] {
    return readdirSync(this.#dir)
      .filter((name) => /^\d{4}-\d\d\.jsonl$/.test(name))
      .sort();
  }

  pathOf(name: string): string {
    return join(this.#dir, name);
  }

  /** Adds the records that are missing, up to number `last`; durable when it returns. @throws Failure `audit.unwritable` */
  catchUp(last: number): void {
    try {
      while (this.#seq < last) {
        const rows = this.#rows.after(this.#seq, Math.min(page, last - this.#seq));
        if (rows.length === 0) return;
        this.#append(rows);
      }
    } catch (error) {
      throw unwritable(storeFailure(error, 'write to the files of the audit'));
    }
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #append(rows: readonly AuditRow[]): void {
    const first = rows[0];
    if (first === undefined) return;
    const name = this.#nameFor(first.at);
    const fits = rows.findIndex((row) => this.#nameFor(row.at) !== name);
    const together = fits === -1 ? rows : rows.slice(0, fits);
    const fd = this.#open(name);
    const { size } = fstatSync(fd);
    const bytes = Buffer.from(together.map(lineOf).join(''));
    try {
      for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
      fdatasyncSync(fd);
    } catch (error) {
      ftruncateSync(fd, size);
      throw error;
    }
    this.#seq = together.at(-1)?.seq ?? this.#seq;
    if (together.length < rows.length) this.#append(rows.slice(together.length));
  }

  /** Of the month, but never of an earlier one than the last file: the clock may have been set back. */
  #nameFor(time: number): string {
    const name = `${new Date(time).toISOString().slice(0, 7)}.jsonl`;
    return this.#name !== null && this.#name > name ? this.#name : name;
  }

  #open(name: string): number {
    if (this.#fd !== null && this.#name === name) return this.#fd;
    const fd = openSync(this.pathOf(name), 'a+', 0o600);
    this.close();
    this.#fd = fd;
    this.#name = name;
    return fd;
  }

  /** @returns the number of the last whole record, 0 when there is none */
  #takeUp(): number {
    for (const name of this.names().reverse()) {
      const fd = this.#open(name);
      const last = lastLine(fd);
      ftruncateSync(fd, last.end);
      if (last.line === null) continue;
      const seq = seqIn(last.line.toString('utf8', at.record, last.line.length - 1));
      if (seq !== null && this.#rows.get(seq)?.hash === last.line.toString('latin1', at.hash, at.hash + 64)) return seq;
      this.#setAside(name);
    }
    return 0;
  }

  /** A file of another history, as after the store was restored from a backup: kept beside, and never added to again. */
  #setAside(name: string): void {
    const taken = readdirSync(this.#dir);
    let n = 1;
    while (taken.includes(`${name}.aside-${n}`)) n += 1;
    this.close();
    this.#name = null;
    renameSync(this.pathOf(name), this.pathOf(`${name}.aside-${n}`));
    this.#aside.push(`${name}.aside-${n}`);
  }
}

/** The last whole line, and where it ends; what follows it was cut off by a crash. */
function lastLine(fd: number): { line: Buffer | null; end: number } {
  const { size } = fstatSync(fd);
  for (let length = Math.min(tail, size); ; length = Math.min(length * 4, size)) {
    const bytes = Buffer.alloc(length);
    readSync(fd, bytes, 0, length, size - length);
    const end = bytes.lastIndexOf(0x0a);
    const start = end <= 0 ? -1 : bytes.lastIndexOf(0x0a, end - 1);
    if (end === -1 && length === size) return { line: null, end: 0 };
    if (end === -1 || (start === -1 && length < size)) continue;
    const line = bytes.subarray(start + 1, end);
    return { line: isLine(line, 0, line.length) ? line : Buffer.alloc(at.record + 3), end: size - length + end + 1 };
  }
}

/** Nothing is done that cannot be written down. */
export function unwritable(error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  return new Failure('audit.unwritable', { attempted: 'write to the audit', reason: error.reason, cause: error });
}
