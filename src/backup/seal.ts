import { Tally, type Arrived } from '../stack/stream.ts';
import { ageDecrypt, ageEncrypt, type FileKey } from './age-payload.ts';

/** The age file of what comes, and at its end what that was: a sink's own count and hash. */
export async function* seal(chunks: AsyncIterable<Uint8Array>, fileKey: FileKey): AsyncGenerator<Uint8Array, Arrived> {
  const tally = new Tally();
  yield* ageEncrypt(counted(chunks, tally), fileKey);
  return tally.arrived();
}

/**
 * What an age file holds, and at its end what that was. What is stored is authenticated by age, chunk by chunk: a hash of it
 * would show nothing more.
 *
 * @throws as `ageDecrypt`
 */
export async function* open(
  chunks: AsyncIterable<Uint8Array>,
  keyOf: (header: Buffer) => Promise<Uint8Array | null>,
): AsyncGenerator<Uint8Array, Arrived> {
  const tally = new Tally();
  yield* counted(ageDecrypt(chunks, keyOf), tally);
  return tally.arrived();
}

async function* counted(chunks: AsyncIterable<Uint8Array>, tally: Tally): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    tally.add(chunk);
    yield chunk;
  }
}
