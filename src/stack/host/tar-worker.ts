import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { MediaFile } from '../stack.ts';
import { Tally } from '../stream.ts';
import { serveThread } from '../thread.ts';
import type { PackedMedia } from './media.ts';
import { Tar, type TarInput } from './tar.ts';

/** Media ids as Synapse makes them; another one cannot name a folder. */
const mediaId = /^[A-Za-z0-9_-]{5,255}$/;

/** Where the content and the thumbnails of one media id are; none for an id that is no id. */
function* inputsOf(mediaPath: string, id: string): Generator<TarInput> {
  if (!mediaId.test(id)) return;
  const place = `${id.slice(0, 2)}/${id.slice(2, 4)}/${id.slice(4)}`;
  const input = (name: string): TarInput => ({ name, path: join(mediaPath, name) });
  yield input(`local_content/${place}`);
  const thumbnails = `local_thumbnails/${place}`;
  const folder = join(mediaPath, thumbnails);
  if (existsSync(folder))
    yield* readdirSync(folder)
      .sort()
      .map((name) => input(`${thumbnails}/${name}`));
}

await serveThread<string, string[], PackedMedia>(async function* (mediaPath, ids) {
  const files: MediaFile[] = [];
  const tar = new Tar(({ name, bytes, sha256 }) => files.push({ path: name, bytes, sha256 }));
  const tally = new Tally();
  async function* blocks(): AsyncGenerator<Uint8Array> {
    for await (const some of ids) for (const id of some) for (const input of inputsOf(mediaPath, id)) yield* tar.add(input);
    yield* tar.end();
  }
  for await (const block of blocks()) {
    tally.add(block);
    yield block;
  }
  return { files, ...tally.arrived() };
});
