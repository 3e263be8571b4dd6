import { Tally, type Arrived } from '../stack/stream.ts';
import { ageEncrypt, type FileKey } from './age.ts';

/** The age file of what comes, and at its end what that was: a sink's own count and hash. */
export async function* seal(chunks: AsyncIterable<Uint8Array>, fileKey: FileKey): AsyncGenerator<Uint8Array, Arrived> {
  const tally = new Tally();
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      tally.add(chunk);
      yield chunk;
    }
  }
  yield* ageEncrypt(counted(), fileKey);
  return { bytes: tally.bytes, sha256: tally.digest() };
}
