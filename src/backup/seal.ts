import { Tally, type Arrived } from '../stack/stream.ts';
import { ageDecrypt, ageEncrypt, type FileKey } from './age.ts';

/** The age file of what comes, and at its end what that was: a sink's own count and hash. */
export async function* seal(chunks: AsyncIterable<Uint8Array>, fileKey: FileKey): AsyncGenerator<Uint8Array, Arrived> {
  const tally = new Tally();
  yield* ageEncrypt(counted(chunks, tally), fileKey);
  return tally.arrived();
}

/** What an object was as it was stored, and what it holds. */
export interface Opened {
  stored: Arrived;
  content: Arrived;
}

/** What an age file holds, and at its end what both were. @throws as `ageDecrypt` */
export async function* open(
  chunks: AsyncIterable<Uint8Array>,
  keyOf: (header: Buffer) => Promise<Uint8Array | null>,
): AsyncGenerator<Uint8Array, Opened> {
  const stored = new Tally();
  const content = new Tally();
  yield* counted(ageDecrypt(counted(chunks, stored), keyOf), content);
  return { stored: stored.arrived(), content: content.arrived() };
}

async function* counted(chunks: AsyncIterable<Uint8Array>, tally: Tally): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    tally.add(chunk);
    yield chunk;
  }
}
