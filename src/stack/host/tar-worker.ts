import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { tarOf, type TarInput, type TarredFile } from './tar.ts';

/** Reading, hashing and packing files takes a core of its own; the other one seals and writes. */

/** What the thread is told. `wanted`: how many more chunks the reader has room for. */
export type ToWorker = { inputs: TarInput[]; last: boolean } | { wanted: number };

/** What it tells. A `hungry` one has packed all that it was given. */
export type FromWorker =
  | { kind: 'hungry' }
  | { kind: 'chunk'; chunk: Uint8Array }
  | { kind: 'end'; sha256: string; bytes: number; files: TarredFile[] }
  | { kind: 'error'; message: string };

const port = parentPort;
if (port === null) throw new TypeError('this file is the code of a thread');
const tell = (message: FromWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

let room = 0;
/** Who reads and who writes may both wait. */
let waiting: (() => void)[] = [];
const given: { inputs: TarInput[]; last: boolean }[] = [];
port.on('message', (message: ToWorker) => {
  if ('wanted' in message) room += message.wanted;
  else given.push(message);
  const woken = waiting;
  waiting = [];
  for (const wake of woken) wake();
});
const changed = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));

async function* inputs(): AsyncGenerator<TarInput> {
  for (;;) {
    const next = given.shift();
    if (next === undefined) {
      tell({ kind: 'hungry' });
      while (given.length === 0) await changed();
      continue;
    }
    yield* next.inputs;
    if (next.last) return;
  }
}

try {
  const hash = createHash('sha256');
  const files: TarredFile[] = [];
  let bytes = 0;
  for await (const chunk of tarOf(inputs(), (file) => files.push(file))) {
    hash.update(chunk);
    bytes += chunk.length;
    while (room === 0) await changed();
    room -= 1;
    tell({ kind: 'chunk', chunk }, [chunk.buffer as ArrayBuffer]);
  }
  tell({ kind: 'end', sha256: hash.digest('hex'), bytes, files });
} catch (error) {
  tell({ kind: 'error', message: (error as Error).message });
}
port.close();
