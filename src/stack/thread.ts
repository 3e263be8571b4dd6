import { on, once } from 'node:events';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { memoryOf, release } from './stream.ts';

/**
 * A step of a stream in a thread of its own. Chunks are moved there and back, not copied, and only a few of them wait at a time:
 * a slow reader holds the thread, and a slow thread its source.
 */

/** Items that wait on their way in, and chunks on their way out. */
const window = 4;

type ToThread = { kind: 'item'; item: unknown } | { kind: 'end' } | { kind: 'taken' };
type FromThread = { kind: 'wanted' } | { kind: 'chunk'; chunk: Uint8Array } | { kind: 'result'; result: unknown };

/** What a thread does: chunks, each in memory of its own, and at last a result. What it throws, the reader gets. */
export type ThreadWork<Start, Item, Result> = (start: Start, items: AsyncIterable<Item>) => AsyncGenerator<Uint8Array, Result>;

/**
 * Runs the code of a thread, which is a file that calls `serveThread`. The thread ends with this generator, however that ends;
 * one that dies is an error here. What `items` throws is thrown on.
 */
export async function* inThread<Item, Result>(
  code: URL,
  start: unknown,
  items: AsyncIterable<Item>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, Result> {
  // Compiled, the house has the same files by another ending.
  const path = fileURLToPath(code).replace(/\.ts$/, extname(fileURLToPath(import.meta.url)));
  // The thread knows nothing of what this process was started with, such as a test's loader.
  const worker = new Worker(path, { workerData: start, execArgv: ['--disable-warning=ExperimentalWarning'] });
  const source = items[Symbol.asyncIterator]();
  const post = (message: ToThread, moved: ArrayBuffer[] = []): void => worker.postMessage(message, moved);
  let broken: unknown = new Error(`the thread of ${path} ended by itself`);
  const feed = async (): Promise<void> => {
    try {
      const next = await source.next();
      if (next.done === true) post({ kind: 'end' });
      else post({ kind: 'item', item: next.value }, memoryOf(next.value));
    } catch (error) {
      broken = error;
      await worker.terminate();
    }
  };
  worker.on('message', ({ kind }: FromThread) => {
    if (kind === 'wanted') void feed();
  });
  try {
    const messages = on(worker, 'message', { close: ['exit'], ...(signal === undefined ? {} : { signal }) });
    for await (const [message] of messages as AsyncIterable<[FromThread]>) {
      if (message.kind === 'result') return message.result as Result;
      if (message.kind !== 'chunk') continue;
      yield message.chunk;
      post({ kind: 'taken' });
    }
    throw broken;
  } finally {
    await worker.terminate();
    // What waits for its next item ends when that comes, and nobody waits for it.
    source.return?.().catch(() => undefined);
  }
}

/** Is the whole code of a thread. A chunk that came as an item is gone when the next one is asked for. */
export async function serveThread<Start, Item, Result>(work: ThreadWork<Start, Item, Result>): Promise<void> {
  const port = parentPort;
  if (port === null) throw new TypeError('this file is the code of a thread');
  const post = (message: FromThread, moved: ArrayBuffer[] = []): void => port.postMessage(message, moved);
  const arrived: Exclude<ToThread, { kind: 'taken' }>[] = [];
  let room = window;
  port.on('message', (message: ToThread) => {
    if (message.kind === 'taken') room += 1;
    else arrived.push(message);
  });
  async function* items(): AsyncGenerator<Item> {
    for (let n = 0; n < window; n += 1) post({ kind: 'wanted' });
    for (;;) {
      const next = arrived.shift();
      if (next === undefined) await once(port as NonNullable<typeof port>, 'message');
      else if (next.kind === 'end') return;
      else {
        post({ kind: 'wanted' });
        yield next.item as Item;
        release(next.item);
      }
    }
  }
  const chunks = work(workerData as Start, items());
  for (let next = await chunks.next(); ; next = await chunks.next()) {
    if (next.done === true) {
      post({ kind: 'result', result: next.value });
      break;
    }
    while (room === 0) await once(port, 'message');
    room -= 1;
    post({ kind: 'chunk', chunk: next.value }, memoryOf(next.value));
  }
  port.close();
}
