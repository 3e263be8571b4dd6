import { spawn } from 'node:child_process';
import type { Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { Failure } from '../../failures/failure.ts';
import { release, toldApart, type Producer } from '../stream.ts';
import { hasProgram, inLargePieces } from './programs.ts';

const saidAtMost = 2000;
const through = '{ zstd -q -d -c; echo "zstd $?" >&3; } | { "$@"; echo "reader $?" >&3; }';
const alone = '"$@"; echo "reader $?" >&3';

/**
 * Gives zstd frames, decompressed, to a program until their end. The chunks' memory is given back.
 *
 * @throws Failure `backup.unreadable` when a stage did not end with 0; whatever `data` throws
 */
export async function feedDecompressed({
  reader,
  data,
  signal,
  explain = () => null,
}: {
  reader: Producer;
  data: AsyncIterable<Uint8Array>;
  signal: AbortSignal;
  /** What a reader's words mean, where it is not that the data cannot be read. */
  explain?: (said: string) => Failure | null;
}): Promise<void> {
  const zstd = await hasProgram('zstd');
  const child = spawn('/bin/sh', ['-c', zstd ? through : alone, 'sh', ...(await inLargePieces(reader.command))], {
    env: { ...process.env, ...reader.env },
    stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
    // A group of its own, so that all stages can be ended together.
    detached: true,
  });
  const { stdin } = child;
  if (stdin === null) throw new TypeError('a pipe was asked for');
  const end = (): void => {
    try {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM');
    } catch {
      // It has ended by itself.
    }
  };
  signal.addEventListener('abort', end, { once: true });
  let told = '';
  let said = '';
  child.stdio[3]?.on('data', (text: Buffer) => (told += text.toString()));
  child.stderr?.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-saidAtMost)));
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => resolve()).once('error', () => resolve());
  });
  // A program that ended early closes its input; its exit code tells why. What the source throws is the source's.
  const { source, assertWhole, isBroken } = toldApart(data);
  let unreadable: unknown = null;
  stdin.on('error', () => undefined);
  try {
    if (zstd) await writeAll(source(), stdin).catch(() => undefined);
    else {
      const decompress = createZstdDecompress();
      decompress.on('error', (error) => (unreadable = error));
      await pipeline(source, decompress, stdin).catch(() => undefined);
    }
    if (isBroken()) end();
    await finished(stdin, { readable: false }).catch(() => undefined);
    await closed;
  } finally {
    signal.removeEventListener('abort', end);
  }
  assertWhole();
  signal.throwIfAborted();
  const stages = [...(zstd ? ['zstd'] : []), 'reader'];
  for (const stage of stages) {
    const code = new RegExp(`^${stage} (\\d+)$`, 'm').exec(told)?.[1] ?? 'unknown';
    if (code === '0' && unreadable === null) continue;
    const other = stage === 'reader' ? explain(said) : null;
    if (other !== null) throw other;
    const last = said.trim().split('\n').at(-1) ?? '';
    throw new Failure('backup.unreadable', {
      attempted: 'read the database dump to its end',
      reason: `${stage === 'reader' ? reader.name : stage} ended with exit code ${code}${last === '' ? '' : `: ${last.slice(0, 300)}`}`,
      cause: unreadable,
    });
  }
}

/** A chunk after the other: each is written when the pipe has taken it. */
async function writeAll(chunks: AsyncIterable<Uint8Array>, to: Writable): Promise<void> {
  for await (const chunk of chunks) {
    await new Promise<void>((resolve, reject) => {
      to.write(chunk, (error) => (error == null ? resolve() : reject(error)));
    });
    release(chunk);
  }
  to.end();
}
