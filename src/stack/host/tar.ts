import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { pack, type Pack } from 'tar-stream';
import { buffer } from '../stream.ts';

export interface TarInput {
  /** On this machine. */
  path: string;
  /** In the archive; relative. */
  name: string;
}

export interface TarredFile {
  name: string;
  bytes: number;
  /** SHA-256 of what was read, hex. */
  sha256: string;
}

/** Files up to this size are read at once, larger ones as streams. */
const small = buffer;

/**
 * A tar archive of whole files with their modes, owners and times. A path without a file is left out. Chunks are about
 * 1 MiB and belong to the reader.
 *
 * @param onFile is told of each file that is in the archive
 */
export async function* tarOf(
  inputs: AsyncIterable<TarInput> | Iterable<TarInput>,
  onFile: (file: TarredFile) => void,
): AsyncGenerator<Uint8Array> {
  const archive = pack({ highWaterMark: buffer });
  const feeding = (async () => {
    for await (const input of inputs) await add(archive, input, onFile);
    archive.finalize();
  })();
  feeding.catch((error: unknown) => archive.destroy(error as Error));
  yield* inBlocks(archive as AsyncIterable<Buffer>);
  await feeding;
}

async function add(archive: Pack, { path, name }: TarInput, onFile: (file: TarredFile) => void): Promise<void> {
  const file = await open(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return;
  try {
    const { size, mode, mtime, uid, gid } = await file.stat();
    const header = { name, size, mode: mode & 0o7777, mtime, uid, gid };
    const hash = createHash('sha256');
    if (size <= small) {
      const content = await file.readFile();
      if (content.length !== size) throw new Error(`${name} changed while it was read`);
      hash.update(content);
      await new Promise<void>((resolve, reject) => {
        archive.entry(header, content, (error) => (error == null ? resolve() : reject(error)));
      });
    } else {
      const written = Promise.withResolvers<undefined>();
      const entry = archive.entry(header, (error) => (error == null ? written.resolve(undefined) : written.reject(error)));
      await pipeline(
        createReadStream('', { fd: file, autoClose: false, end: size - 1, highWaterMark: buffer }),
        async function* (chunks: AsyncIterable<Buffer>) {
          for await (const chunk of chunks) {
            hash.update(chunk);
            yield chunk;
          }
        },
        entry,
      );
      await written.promise;
    }
    onFile({ name, bytes: size, sha256: hash.digest('hex') });
  } finally {
    await file.close();
  }
}

async function* inBlocks(chunks: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  let block = Buffer.allocUnsafeSlow(buffer);
  let used = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(chunk.length - at, block.length - used);
      chunk.copy(block, used, at, at + taken);
      at += taken;
      used += taken;
      if (used < block.length) continue;
      yield block;
      block = Buffer.allocUnsafeSlow(buffer);
      used = 0;
    }
  }
  if (used > 0) yield block.subarray(0, used);
}
