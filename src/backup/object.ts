import { pipeline } from 'node:stream/promises';
import type { Readable } from 'node:stream';
import { Failure } from '../failures/failure.ts';
import { buffer, inBlocks, type Arrived, type SourceStream, type StreamProof } from '../stack/stream.ts';
import { inThread } from '../stack/thread.ts';
import { AgeDecrypt, newFileKey, type FileKey } from './age.ts';
import type { Destination, Stored } from './destinations/destination.ts';
import { seal } from './seal.ts';

export interface SealedObject {
  stored: Stored;
  source: StreamProof;
  /** In memory only; opens the object as long as this process lives. */
  fileKey: FileKey;
}

/**
 * Seals a source for recipients into a destination, under the stream contract: the object is there only when every stage of
 * the source ended with 0 and its hash is that of what arrived.
 *
 * @throws Failure `backup.source-failed`, and those of the destination
 */
export async function sealInto(
  destination: Pick<Destination, 'put'>,
  name: string,
  source: SourceStream,
  recipients: readonly string[],
): Promise<SealedObject> {
  const fileKey = await newFileKey(recipients);
  async function* sealed(): AsyncGenerator<Uint8Array> {
    let arrived: Arrived;
    try {
      arrived = yield* sealing(source.data, fileKey);
    } catch (error) {
      // The stages know better than the pipe why it broke.
      throw brokenBy(name, await settled(source), error);
    }
    assertWhole(name, await source.proof, arrived);
  }
  try {
    const stored = await destination.put(name, sealed());
    return { stored, source: await source.proof, fileKey };
  } catch (error) {
    source.abort();
    throw error;
  }
}

/** In a thread of its own, but for what is small. */
async function* sealing(data: AsyncIterable<Uint8Array>, fileKey: FileKey): AsyncGenerator<Uint8Array, Arrived> {
  const blocks = inBlocks(data);
  const first = await blocks.next();
  async function* all(): AsyncGenerator<Uint8Array> {
    if (first.done !== true) yield first.value;
    yield* blocks;
  }
  if (first.done === true || first.value.length < buffer) return yield* seal(all(), fileKey);
  return yield* inThread<Uint8Array, Arrived>(new URL('./seal-worker.ts', import.meta.url), fileKey, all());
}

/** What an object holds, as a stream; `keyOf` finds its file key. */
export function opened(chunks: AsyncIterable<Uint8Array>, keyOf: (header: Buffer) => Promise<Buffer | null>): Readable {
  const decrypt = new AgeDecrypt(keyOf);
  pipeline(chunks, decrypt).catch((error: unknown) => decrypt.destroy(error as Error));
  return decrypt;
}

/** @throws Failure `backup.source-failed` */
function assertWhole(name: string, proof: StreamProof, arrived: Arrived): void {
  const bad = proof.stages.find(({ exitCode }) => exitCode !== 0);
  if (bad !== undefined) throw brokenBy(name, proof, undefined);
  if (proof.bytes !== arrived.bytes || proof.sha256 !== arrived.sha256)
    throw new Failure('backup.source-failed', {
      attempted: `back up ${name}`,
      reason: `${proof.bytes} bytes left the source, and ${arrived.bytes} arrived`,
    });
}

function brokenBy(name: string, proof: StreamProof, cause: unknown): unknown {
  const bad = proof.stages.find(({ exitCode }) => exitCode !== 0);
  if (bad === undefined) return cause;
  const said = proof.said.split('\n').at(-1) ?? '';
  return new Failure('backup.source-failed', {
    attempted: `back up ${name}`,
    reason: `${bad.name} ended with exit code ${bad.exitCode ?? 'unknown'}${said === '' ? '' : `: ${said.slice(0, 300)}`}`,
    cause,
  });
}

async function settled(source: SourceStream): Promise<StreamProof> {
  source.abort();
  return source.proof;
}
