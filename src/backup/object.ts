import { Failure } from '../failures/failure.ts';
import { buffer, inBlocks, type Arrived, type SourceStream, type StreamProof } from '../stack/stream.ts';
import { inThread } from '../stack/thread.ts';
import { newFileKey } from './age-header.ts';
import { damaged, headerOf, type FileKey } from './age-payload.ts';
import type { Destination, Stored } from './destinations/destination.ts';
import type { OpenedInThread } from './open-worker.ts';
import { open, seal } from './seal.ts';

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

async function* sealing(data: AsyncIterable<Uint8Array>, fileKey: FileKey): AsyncGenerator<Uint8Array, Arrived> {
  const { first, all, end } = await begun(data);
  try {
    if (isSmall(first)) return yield* seal(all, fileKey);
    return yield* inThread<Uint8Array, Arrived>(new URL('./seal-worker.ts', import.meta.url), fileKey, all);
  } finally {
    end();
  }
}

/**
 * What an object holds; `keyOf` finds its file key. It is what was sealed only when this ends, and tells then what it was.
 *
 * @throws as `ageDecrypt`
 */
export async function* opened(
  chunks: AsyncIterable<Uint8Array>,
  keyOf: (header: Buffer) => Promise<Uint8Array | null>,
): AsyncGenerator<Uint8Array, Arrived> {
  const { first, all, end } = await begun(chunks);
  try {
    const header = isSmall(first) ? null : headerOf(Buffer.from(first));
    if (header === null) return yield* open(all, keyOf);
    const key = await keyOf(header);
    if (key === null) throw new Failure('backup.no-key');
    const result = yield* inThread<Uint8Array, OpenedInThread>(new URL('./open-worker.ts', import.meta.url), key, all);
    if ('damaged' in result) throw damaged(result.damaged);
    return result;
  } finally {
    end();
  }
}

/** What is small is worth no thread. */
const isSmall = (first: Uint8Array): boolean => first.length < buffer;

/** The first block of a stream, and all of them; `end` closes what it comes from. */
async function begun(chunks: AsyncIterable<Uint8Array>): Promise<{ first: Uint8Array; all: AsyncGenerator<Uint8Array>; end: () => void }> {
  const blocks = inBlocks(chunks);
  const next = await blocks.next();
  const first = next.done === true ? new Uint8Array() : next.value;
  async function* all(): AsyncGenerator<Uint8Array> {
    if (first.length > 0) yield first;
    yield* blocks;
  }
  return { first, all: all(), end: () => void blocks.return(undefined).catch(() => undefined) };
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
