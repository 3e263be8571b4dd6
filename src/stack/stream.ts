import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { finished, pipeline } from 'node:stream/promises';
import { PassThrough, Transform, type Readable, type TransformCallback } from 'node:stream';
import { constants, createZstdCompress } from 'node:zlib';

/** How one stage of a stream ended. */
export interface Stage {
  name: string;
  /** Null when it never told. */
  exitCode: number | null;
}

/**
 * What a stream's source knows of it, told beside the data. A sink takes the data only when every stage has exit code 0
 * and `sha256` is that of what arrived, whatever the transport said.
 */
export interface StreamProof {
  stages: readonly Stage[];
  /** Of all bytes at the source, hex. */
  sha256: string;
  bytes: number;
  /** The last that the stages said on standard error. */
  said: string;
}

/** A stream out of the place where the data are. It is whole only when `proof` says so. */
export interface SourceStream {
  data: Readable;
  /** Resolves when every stage has ended, however it ended. */
  proof: Promise<StreamProof>;
  /** Ends every stage; may be called twice and after the end. */
  abort(): void;
}

/** What streams may hold in memory at each step, bytes. */
export const buffer = 1 << 20;

/** A source on its way into a pipeline, which ends with an error of its own: what the source threw is told apart. */
export function toldApart(data: AsyncIterable<Uint8Array>): {
  source: () => AsyncGenerator<Uint8Array>;
  assertWhole: () => void;
  isBroken: () => boolean;
} {
  let broken: { error: unknown } | null = null;
  return {
    async *source() {
      try {
        yield* data;
      } catch (error) {
        broken = { error };
        throw error;
      }
    },
    isBroken: () => broken !== null,
    /** @throws what the source threw */
    assertWhole() {
      if (broken !== null) throw broken.error;
    },
  };
}

/** What passed: how many bytes, and their SHA-256, hex. */
export interface Arrived {
  bytes: number;
  sha256: string;
}

/** Counts and hashes. */
export class Tally {
  readonly #hash = createHash('sha256');
  #digest: string | undefined;
  bytes = 0;

  add(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.bytes += chunk.length;
  }

  /** Hex, of what was added when it is first asked. */
  digest(): string {
    this.#digest ??= this.#hash.digest('hex');
    return this.#digest;
  }

  arrived(): Arrived {
    return { bytes: this.bytes, sha256: this.digest() };
  }
}

/** Counts and hashes what passes. */
export class Tap extends Transform {
  readonly #tally = new Tally();

  constructor() {
    super({ highWaterMark: buffer });
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#tally.add(chunk);
    done(null, chunk);
  }

  get bytes(): number {
    return this.#tally.bytes;
  }

  /** Hex, of what has passed when it is first asked. */
  digest(): string {
    return this.#tally.digest();
  }
}

/** A program with its arguments; no secret among them. */
export interface Producer {
  name: string;
  command: readonly [string, ...string[]];
  /** Over this process's environment. */
  env?: Readonly<Record<string, string>>;
}

const saidAtMost = 2000;
/** The exit code of each stage goes to descriptor 3: a shell tells only the last one's. */
const alone = '"$@"; echo "producer $?" >&3';
/** Level 2 takes two thirds of the work of level 3, for 1.3 % more bytes. */
const compressed = '{ "$@"; echo "producer $?" >&3; } | { zstd -q -2 -T2 -c; echo "zstd $?" >&3; }';

/**
 * What a program writes, compressed by the program `zstd` where it is there, else by node:zlib (one thread).
 *
 * @param zstd whether the program is there
 */
export function compressedOutput(producer: Producer, zstd: boolean, signal: AbortSignal): SourceStream {
  const child = spawn('/bin/sh', ['-c', zstd ? compressed : alone, 'sh', ...producer.command], {
    env: { ...process.env, ...producer.env },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    // A group of its own, so that all stages can be ended together.
    detached: true,
  });
  const [, out, errors, codes] = child.stdio as unknown as [null, Readable, Readable, Readable];
  const tap = new Tap();
  // One that is aborted after its end has nobody else who listens: that would end Steward.
  tap.on('error', () => undefined);
  const abort = (): void => {
    try {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM');
    } catch {
      // It has ended by itself.
    }
    tap.destroy(new Error('the stream was aborted'));
  };
  signal.addEventListener('abort', abort, { once: true });
  const flow = zstd ? pipeline(out, tap) : pipeline(out, createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 2 } }), tap);
  // A sink that goes away ends the stages too.
  flow.catch(abort);
  if (signal.aborted) abort();
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve()).once('error', () => resolve());
  });
  const proof = Promise.all([text(codes), tail(errors), ended, flow.catch(() => undefined)]).then(([told, said]) => {
    signal.removeEventListener('abort', abort);
    const codeOf = (stage: string): number | null => {
      const code = new RegExp(`^${stage} (\\d+)$`, 'm').exec(told)?.[1];
      return code === undefined ? null : Number(code);
    };
    const stages = [{ name: producer.name, exitCode: codeOf('producer') }, ...(zstd ? [{ name: 'zstd', exitCode: codeOf('zstd') }] : [])];
    return { stages, sha256: tap.digest(), bytes: tap.bytes, said };
  });
  return { data: tap, proof, abort };
}

/** What code of Steward's own writes, as a stream with its proof. `write` gives the chunks, and throws when it cannot. */
export function ownOutput(name: string, write: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>, signal: AbortSignal): SourceStream {
  const hashed = async function* (): AsyncGenerator<Uint8Array, Arrived> {
    const tally = new Tally();
    for await (const chunk of write()) {
      tally.add(chunk);
      yield chunk;
    }
    return tally.arrived();
  };
  return provenOutput(name, hashed, signal);
}

/** The same, of code that counts and hashes by itself what it gives. */
export function provenOutput(
  name: string,
  write: (signal: AbortSignal) => AsyncGenerator<Uint8Array, Arrived>,
  signal: AbortSignal,
): SourceStream {
  const data = new PassThrough({ highWaterMark: buffer });
  const stop = new AbortController();
  const any = AbortSignal.any([signal, stop.signal]);
  let told: Arrived = { sha256: '', bytes: 0 };
  const proven = async function* (): AsyncGenerator<Uint8Array> {
    told = yield* write(any);
  };
  const proof = pipeline(proven, data, { signal: any }).then(
    () => ({ stages: [{ name, exitCode: 0 }], ...told, said: '' }),
    (error: unknown) => ({ stages: [{ name, exitCode: 1 }], ...told, said: (error as Error).message }),
  );
  return { data, proof, abort: () => stop.abort() };
}

/** The same bytes in blocks of `buffer`, of which only the last one is smaller; each has its memory for itself. */
export async function* inBlocks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let block: Uint8Array | null = null;
  let used = 0;
  for await (const chunk of chunks) {
    if (used === 0 && chunk.length === buffer && memoryOf(chunk).length > 0) {
      yield chunk;
      continue;
    }
    for (let at = 0; at < chunk.length;) {
      block ??= Buffer.allocUnsafeSlow(buffer);
      const taken = Math.min(chunk.length - at, block.length - used);
      block.set(chunk.subarray(at, at + taken), used);
      at += taken;
      used += taken;
      if (used < block.length) continue;
      yield block;
      block = null;
      used = 0;
    }
  }
  if (block !== null) yield block.subarray(0, used);
}

/** The memory of a chunk that has it for itself, so that it can be moved or given back; none of anything else. */
export function memoryOf(chunk: unknown): ArrayBuffer[] {
  return ArrayBuffer.isView(chunk) && chunk.byteLength === chunk.buffer.byteLength ? [chunk.buffer as ArrayBuffer] : [];
}

/** Gives back the memory of a chunk that nobody else has. What waits for the collector is many times what is in use, and makes it run. */
export function release(chunk: unknown): void {
  for (const memory of memoryOf(chunk)) memory.transfer(0);
}

async function tail(stream: Readable): Promise<string> {
  let said = '';
  stream.setEncoding('utf8').on('data', (piece: string) => (said = (said + piece).slice(-saidAtMost)));
  await finished(stream).catch(() => undefined);
  return said.trim();
}
