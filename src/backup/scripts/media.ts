import { createHash } from 'node:crypto';
import { finished, pipeline } from 'node:stream/promises';
import type { Readable } from 'node:stream';
import { extract, pack, type Header } from 'tar-stream';
import { Failure } from '../../failures/failure.ts';
import type { MediaFile } from '../../stack/stack.ts';

/** The folder that the script archives: Synapse's media store, by this name whatever it is called where it goes to. */
const top = 'media_store/';
/** What a backup of Steward leaves out as well: others have it, or it is made anew. */
const leftOut = /^(remote_content|remote_thumbnail|url_cache|url_cache_thumbnails|\.steward-restore-[\w]+)\//;
const mediaName = /^local_(content\/[\w-]{2}\/[\w-]{2}\/[\w-]+|thumbnails\/[\w-]{2}\/[\w-]{2}\/[\w-]+\/[\w-][\w.-]*)$/;

/**
 * The files of local media in the script's archive, each with its hash, to the archive's end.
 *
 * @throws Failure `backup.unreadable` for one that is cut, `restore.unsafe-name`
 */
export async function* mediaIn(archive: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<MediaFile> {
  for await (const { path, entry } of localMedia(archive, signal)) {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of entry as AsyncIterable<Uint8Array>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    yield { path, bytes, sha256: hash.digest('hex') };
  }
}

/** The same files as a tar whose names are below the media store. */
export async function* mediaTar(archive: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const tar = pack();
  const filling = (async () => {
    for await (const { path, entry } of localMedia(archive, signal)) {
      const to = tar.entry({ name: path, size: entry.header.size, mode: 0o640 });
      await pipeline(entry, to as unknown as NodeJS.WritableStream);
    }
    tar.finalize();
  })();
  filling.catch((error: unknown) => tar.destroy(error as Error));
  yield* tar as unknown as AsyncIterable<Uint8Array>;
  await filling;
}

async function* localMedia(
  archive: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<{ path: string; entry: Readable & { header: Header } }> {
  const reader = extract();
  const feeding = pipeline(withEnd(archive), reader, { signal });
  feeding.catch(() => undefined);
  try {
    for await (const entry of reader) {
      const path = pathOf(entry.header);
      if (path === null) entry.resume();
      else yield { path, entry: entry as unknown as Readable & { header: Header } };
    }
    await feeding;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Failure) throw error;
    // What the source of the archive threw says more than what the reader of it made of that.
    const cause = await feeding.then(
      () => error,
      (first: unknown) => first,
    );
    if (cause instanceof Failure) throw cause;
    throw new Failure('backup.unreadable', {
      attempted: 'read the archive of media to its end',
      reason: `it is cut or damaged: ${(cause as Error).message}`,
      cause,
    });
  } finally {
    reader.destroy();
    await finished(reader).catch(() => undefined);
  }
}

/** An archive ends with two empty records: of one that was cut between two files nothing else tells it. */
async function* withEnd(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let zeros = 0;
  for await (const chunk of chunks) {
    const last = chunk.findLastIndex((byte) => byte !== 0);
    zeros = last === -1 ? zeros + chunk.length : chunk.length - 1 - last;
    yield chunk;
  }
  if (zeros < 1024)
    throw new Failure('backup.unreadable', { attempted: 'read the archive of media to its end', reason: 'it is cut: its end is missing' });
}

/** Null for what is not taken. @throws Failure `restore.unsafe-name` */
function pathOf({ name, type }: Header): string | null {
  const unsafe = (): Failure =>
    new Failure('restore.unsafe-name', {
      attempted: 'read the archive of media',
      reason: `${JSON.stringify(name)} (${type}) is no file of media`,
    });
  const plain = name.replace(/^\.\//, '');
  if (plain.split('/').includes('..') || (type !== 'file' && type !== 'directory')) throw unsafe();
  if (type === 'directory') {
    if (!`${plain.replace(/\/$/, '')}/`.startsWith(top)) throw unsafe();
    return null;
  }
  if (!plain.startsWith(top)) throw unsafe();
  const path = plain.slice(top.length);
  if (leftOut.test(path)) return null;
  if (!mediaName.test(path)) throw unsafe();
  return path;
}
