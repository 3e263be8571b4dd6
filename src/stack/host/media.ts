import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import type { MediaFile, MediaStream } from '../stack.ts';
import type { StreamProof } from '../stream.ts';
import type { FromWorker, ToWorker } from './tar-worker.ts';

/** Chunks of 1 MiB that may wait on their way out of the thread. */
const window = 8;
/** Paths that the thread is given at a time. */
const portion = 256;

/** Media ids as Synapse makes them; another one cannot name a folder. */
const mediaId = /^[A-Za-z0-9_-]{5,255}$/;

/** The content and the thumbnails of one media id that are there, below the media path; none for an id that is no id. */
export async function pathsOfMedia(mediaPath: string, id: string): Promise<string[]> {
  if (!mediaId.test(id)) return [];
  const place = `${id.slice(0, 2)}/${id.slice(2, 4)}/${id.slice(4)}`;
  const content = `local_content/${place}`;
  const thumbnails = `local_thumbnails/${place}`;
  const isFile = await stat(join(mediaPath, content)).then(
    (stats) => stats.isFile(),
    () => false,
  );
  const names = await readdir(join(mediaPath, thumbnails)).catch(() => []);
  return [...(isFile ? [content] : []), ...names.sort().map((name) => `${thumbnails}/${name}`)];
}

/** A tar of these paths, made in a thread of its own. */
export function tarOfMedia(mediaPath: string, paths: AsyncIterable<string>, signal: AbortSignal): MediaStream {
  const worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './tar-worker.ts' : './tar-worker.js', import.meta.url), {
    // The thread knows nothing of what this process was started with, such as a test's loader.
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  const source = paths[Symbol.asyncIterator]();
  const post = (message: ToWorker): void => worker.postMessage(message);
  const files = Promise.withResolvers<MediaFile[]>();
  const proof = Promise.withResolvers<StreamProof>();
  files.promise.catch(() => undefined);
  let ended = false;

  const end = (exitCode: number, told: Pick<StreamProof, 'sha256' | 'bytes' | 'said'>, error?: Error): void => {
    if (ended) return;
    ended = true;
    signal.removeEventListener('abort', abort);
    proof.resolve({ stages: [{ name: 'tar', exitCode }], ...told });
    if (error !== undefined) {
      files.reject(error);
      data.destroy(error);
    }
    void worker.terminate();
  };
  const fail = (error: Error): void => end(1, { sha256: '', bytes: 0, said: error.message }, error);
  const abort = (): void => fail(new Error('the stream was aborted'));

  let taken = 0;
  const data = new Readable({
    highWaterMark: window << 20,
    read: () => {
      // What was taken makes room for as much again.
      if (taken > 0) post({ wanted: taken });
      taken = 0;
    },
    destroy: (error, done) => {
      if (!ended) fail(error ?? new Error('the stream was closed early'));
      done(error);
    },
  });

  const feed = async (): Promise<void> => {
    const inputs: { path: string; name: string }[] = [];
    while (inputs.length < portion) {
      const next = await source.next();
      if (next.done === true) {
        post({ inputs, last: true });
        return;
      }
      inputs.push({ path: join(mediaPath, next.value), name: next.value });
    }
    post({ inputs, last: false });
  };

  worker.on('message', (message: FromWorker) => {
    if (message.kind === 'hungry') feed().catch((error: unknown) => fail(error as Error));
    else if (message.kind === 'chunk') {
      taken += 1;
      if (data.push(message.chunk)) {
        post({ wanted: taken });
        taken = 0;
      }
    } else if (message.kind === 'end') {
      data.push(null);
      files.resolve(message.files.map(({ name, bytes, sha256 }) => ({ path: name, bytes, sha256 })));
      end(0, { sha256: message.sha256, bytes: message.bytes, said: '' });
    } else fail(new Error(message.message));
  });
  worker.on('error', (error) => fail(error as Error));
  worker.on('exit', () => fail(new Error('the thread that packs media ended')));
  signal.addEventListener('abort', abort, { once: true });
  post({ wanted: window });
  return { data, proof: proof.promise, files: files.promise, abort };
}
