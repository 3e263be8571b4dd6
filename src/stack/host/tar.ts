import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { accountsIn } from '../accounts.ts';
import { buffer } from '../stream.ts';

export interface TarInput {
  /** On this machine. */
  path: string;
  /** In the archive; relative. */
  name: string;
}

export interface TarredFile {
  name: string;
  bytes: number;
  /** SHA-256 of what was read, hex. */
  sha256: string;
}

/** What a tar is made of. */
const record = 512;

/**
 * A tar archive (ustar, with pax headers where that has no room) of whole files with their modes, owners by name and number, and times. Its blocks are
 * of 1 MiB, and each has its memory for itself. Files are read straight into them, by the calling thread: through the pool of
 * threads the reading of small files takes four times the work.
 */
export class Tar {
  readonly #blocks = new Blocks();
  readonly #onFile: (file: TarredFile) => void;
  readonly #users = accountsIn('/etc/passwd');
  readonly #groups = accountsIn('/etc/group');

  /** @param onFile is told of each file that is in the archive */
  constructor(onFile: (file: TarredFile) => void = () => undefined) {
    this.#onFile = onFile;
  }

  /** A path without a file is left out. */
  *add({ path, name }: TarInput): Generator<Uint8Array> {
    const file = openOrNull(path);
    if (file === null) return;
    try {
      const stats = fstatSync(file);
      if (!stats.isFile()) return;
      yield* this.#blocks.put(headersOf(name, stats, { user: this.#users.nameOf(stats.uid), group: this.#groups.nameOf(stats.gid) }));
      const hash = createHash('sha256');
      for (let left = stats.size; left > 0;) {
        const got = readSync(file, this.#blocks.free.subarray(0, left));
        if (got === 0) throw changed(name);
        hash.update(this.#blocks.free.subarray(0, got));
        yield* this.#blocks.take(got);
        left -= got;
      }
      if (readSync(file, Buffer.alloc(1)) > 0) throw changed(name);
      yield* this.#blocks.put(Buffer.alloc(-stats.size & (record - 1)));
      this.#onFile({ name, bytes: stats.size, sha256: hash.digest('hex') });
    } finally {
      closeSync(file);
    }
  }

  *end(): Generator<Uint8Array> {
    yield* this.#blocks.put(Buffer.alloc(2 * record));
    yield* this.#blocks.rest();
  }
}

/** A tar archive of these files. */
export function* tarOf(inputs: Iterable<TarInput>): Generator<Uint8Array> {
  const tar = new Tar();
  for (const input of inputs) yield* tar.add(input);
  yield* tar.end();
}

const changed = (name: string): Error => new Error(`${name} changed while it was read`);

function openOrNull(path: string): number | null {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Fills block after block. */
class Blocks {
  #block = Buffer.allocUnsafeSlow(buffer);
  #used = 0;

  /** Where the next bytes go; never empty. */
  get free(): Buffer {
    return this.#block.subarray(this.#used);
  }

  /** That many bytes were put there. */
  *take(bytes: number): Generator<Uint8Array> {
    this.#used += bytes;
    if (this.#used < this.#block.length) return;
    yield this.#block;
    this.#block = Buffer.allocUnsafeSlow(buffer);
    this.#used = 0;
  }

  *put(bytes: Buffer): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length;) {
      const copied = bytes.copy(this.free, 0, at);
      yield* this.take(copied);
      at += copied;
    }
  }

  *rest(): Generator<Uint8Array> {
    if (this.#used > 0) yield this.#block.subarray(0, this.#used);
  }
}

/** POSIX.1-2001: the header of a file, and before it, where a name or a number does not fit, one that says it in full (pax). */
function headersOf(name: string, { size, mode, uid, gid, mtimeMs }: Stats, owner: Owner): Buffer {
  const numbers = { size, uid, gid };
  const large = Object.entries(numbers).filter(([key, value]) => value >= 8 ** widths[key as keyof typeof numbers]);
  const isPlain = /^[\x01-\x7f]{1,100}$/.test(name);
  const said = [...(isPlain ? [] : [['path', name] as const]), ...large];
  const header = headerOf(name, { mode: mode & 0o7777, uid, gid, size, mtime: Math.max(0, Math.floor(mtimeMs / 1000)) }, '0', owner);
  if (said.length === 0) return header;
  const words = Buffer.from(said.map(([key, value]) => paxLine(key, String(value))).join(''));
  const padding = Buffer.alloc(-words.length & (record - 1));
  return Buffer.concat([headerOf('pax', { mode: 0o644, uid: 0, gid: 0, size: words.length, mtime: 0 }, 'x'), words, padding, header]);
}

/** Octal digits of each number, in the header's order. */
const widths = { mode: 7, uid: 7, gid: 7, size: 11, mtime: 11 } as const;

interface Owner {
  user: string;
  group: string;
}

function headerOf(name: string, numbers: Readonly<Record<keyof typeof widths, number>>, type: '0' | 'x', owner?: Owner): Buffer {
  const header = Buffer.alloc(record);
  header.write(name, 0, 100);
  let at = 100;
  for (const [key, width] of Object.entries(widths) as [keyof typeof widths, number][]) {
    // What does not fit is in the pax header.
    header.write((numbers[key] % 8 ** width).toString(8).padStart(width, '0'), at);
    at += width + 1;
  }
  header.write(`        ${type}`, 148);
  header.write('ustar\x0000', 257);
  // A name that does not fit is none: the number counts then.
  for (const [at, text] of [
    [265, owner?.user ?? ''],
    [297, owner?.group ?? ''],
  ] as const)
    if (Buffer.byteLength(text) < 32) header.write(text, at);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

/** `30 path=…\n`: its length, itself included. */
function paxLine(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + String(bytes).length;
  length = bytes + String(length).length;
  return `${length}${rest}`;
}
