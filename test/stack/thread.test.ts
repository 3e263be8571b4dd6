import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectoryDestination } from '../../src/backup/destinations/directory.ts';
import { inBlocks } from '../../src/stack/stream.ts';
import { inThread } from '../../src/stack/thread.ts';

const echo = new URL('./threads/echo.ts', import.meta.url);
const size = 1000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'thread-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Chunks with their number in them; `closed` when whoever read them has gone. */
function numbered(count: number): { chunks: AsyncGenerator<Uint8Array>; given: () => number; closed: () => boolean } {
  let given = 0;
  let closed = false;
  async function* chunks(): AsyncGenerator<Uint8Array> {
    try {
      for (; given < count; given += 1) yield await Promise.resolve(Buffer.alloc(size, String(given % 10)));
    } finally {
      closed = true;
    }
  }
  return { chunks: chunks(), given: () => given, closed: () => closed };
}

test('what goes through comes out whole and in order, with a result', async () => {
  const out: Buffer[] = [];
  const thread = inThread<Uint8Array, number>(echo, { dieAt: -1 }, numbered(100).chunks);
  let next = await thread.next();
  for (; next.done !== true; next = await thread.next()) out.push(Buffer.from(next.value));
  expect(next.value).toBe(100);
  expect(Buffer.concat(out).equals(Buffer.concat(Array.from({ length: 100 }, (_, n) => Buffer.alloc(size, String(n % 10)))))).toBe(true);
});

test('a reader that stops holds the source, and one that goes away closes it', async () => {
  const source = numbered(1000);
  const thread = inThread<Uint8Array, number>(echo, { dieAt: -1 }, source.chunks);
  await thread.next();
  await thread.next();
  expect(source.given()).toBeLessThan(20);
  await thread.return(0);
  expect(source.closed()).toBe(true);
});

test('a thread that dies is an error, closes its source and leaves no object', async () => {
  const source = numbered(1000);
  const destination = new DirectoryDestination('disk', join(dir, 'disk'));
  await expect(destination.put('a/object', inThread<Uint8Array, number>(echo, { dieAt: 50 }, source.chunks))).rejects.toThrow(
    'ended by itself',
  );
  expect(source.closed()).toBe(true);
  expect(readdirSync(join(dir, 'disk/a'))).toEqual([]);
});

test('what the source throws is thrown on', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(Buffer.alloc(size));
    throw new Error('the disk is gone');
  }
  const thread = inThread<Uint8Array, number>(echo, { dieAt: -1 }, broken());
  await expect(
    (async () => {
      for await (const chunk of thread) expect(chunk.length).toBe(size);
    })(),
  ).rejects.toThrow('the disk is gone');
});

test('an abort ends it while it waits', async () => {
  const stop = new AbortController();
  const silent = new Promise<never>(() => undefined);
  async function* nothing(): AsyncGenerator<Uint8Array> {
    yield await silent;
  }
  const next = inThread<Uint8Array, number>(echo, { dieAt: -1 }, nothing(), stop.signal).next();
  stop.abort();
  await expect(next).rejects.toMatchObject({ name: 'AbortError' });
});

test.each([1, 65_536, 1_000_003, 1 << 20])('blocks of pieces of %i bytes are whole but for the last', async (piece) => {
  const content = Buffer.from(Array.from({ length: 3 * (1 << 20) + 7 }, (_, n) => n % 251));
  async function* pieces(): AsyncGenerator<Uint8Array> {
    const step = piece === 1 ? 3001 : piece;
    for (let at = 0; at < content.length; at += step) yield await Promise.resolve(Buffer.from(content.subarray(at, at + step)));
  }
  const blocks: Buffer[] = [];
  for await (const block of inBlocks(pieces())) blocks.push(Buffer.from(block));
  expect(blocks.map(({ length }) => length)).toEqual([1 << 20, 1 << 20, 1 << 20, 7]);
  expect(Buffer.concat(blocks).equals(content)).toBe(true);
});
