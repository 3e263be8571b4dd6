import type { MediaFile, MediaStream } from '../stack.ts';
import { provenOutput } from '../stream.ts';
import { inThread } from '../thread.ts';

/** What the thread tells at its end. */
export interface PackedMedia {
  files: MediaFile[];
  /** Of the tar. */
  bytes: number;
  sha256: string;
}

/** Ids that the thread is given at a time. */
const portion = 64;

/** A tar of the content and the thumbnails of these media ids, read and hashed in a thread of its own. */
export function tarOfMedia(mediaPath: string, ids: AsyncIterable<string>, signal: AbortSignal): MediaStream {
  const files = Promise.withResolvers<MediaFile[]>();
  files.promise.catch(() => undefined);
  const code = new URL('./tar-worker.ts', import.meta.url);
  const stream = provenOutput(
    'tar',
    async function* (any) {
      const packed = yield* inThread<string[], PackedMedia>(code, mediaPath, inPortions(ids), any);
      files.resolve(packed.files);
      return packed;
    },
    signal,
  );
  stream.data.once('error', files.reject);
  return { ...stream, files: files.promise };
}

async function* inPortions(ids: AsyncIterable<string>): AsyncGenerator<string[]> {
  let some: string[] = [];
  for await (const id of ids) {
    some.push(id);
    if (some.length < portion) continue;
    yield some;
    some = [];
  }
  if (some.length > 0) yield some;
}
