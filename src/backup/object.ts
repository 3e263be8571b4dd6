import { pipeline } from 'node:stream/promises';
import type { Readable } from 'node:stream';
import { Failure } from '../failures/failure.ts';
import { Tap, type SourceStream, type StreamProof } from '../stack/stream.ts';
import { AgeDecrypt, AgeEncrypt, newFileKey, type FileKey } from './age.ts';
import type { Destination, Stored } from './destinations/destination.ts';

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
  const arrived = new Tap();
  const sealer = new AgeEncrypt(fileKey);
  async function* sealed(): AsyncGenerator<Uint8Array> {
    const flow = pipeline(source.data, arrived, sealer).catch((error: unknown) => error);
    try {
      yield* sealer as AsyncIterable<Buffer>;
    } catch (error) {
      // The stages know better than the pipe why it broke.
      throw brokenBy(name, await settled(source), error);
    }
    const error = await flow;
    const proof = await source.proof;
    if (error !== undefined) throw brokenBy(name, proof, error);
    assertWhole(name, proof, arrived);
  }
  try {
    const stored = await destination.put(name, sealed());
    return { stored, source: await source.proof, fileKey };
  } catch (error) {
    source.abort();
    throw error;
  }
}

/** What an object holds, as a stream; `keyOf` finds its file key. */
export function opened(chunks: AsyncIterable<Uint8Array>, keyOf: (header: Buffer) => Promise<Buffer | null>): Readable {
  const decrypt = new AgeDecrypt(keyOf);
  pipeline(chunks, decrypt).catch((error: unknown) => decrypt.destroy(error as Error));
  return decrypt;
}

/** @throws Failure `backup.source-failed` */
function assertWhole(name: string, proof: StreamProof, arrived: Tap): void {
  const bad = proof.stages.find(({ exitCode }) => exitCode !== 0);
  if (bad !== undefined) throw brokenBy(name, proof, undefined);
  if (proof.bytes !== arrived.bytes || proof.sha256 !== arrived.digest())
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
