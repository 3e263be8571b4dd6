import { Failure } from '../failures/failure.ts';
import type { Arrived } from '../stack/stream.ts';
import { serveThread } from '../stack/thread.ts';
import { open } from './seal.ts';

/** A failure does not keep its class on the way out of a thread. */
export type OpenedInThread = Arrived | { damaged: string };

await serveThread<Uint8Array, Uint8Array, OpenedInThread>(async function* (key, chunks) {
  try {
    return yield* open(chunks, () => Promise.resolve(key));
  } catch (error) {
    if (error instanceof Failure) return { damaged: error.reason };
    throw error;
  }
});
