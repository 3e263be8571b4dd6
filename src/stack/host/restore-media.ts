import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { chown, link, lstat, mkdir, opendir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { Failure } from '../../failures/failure.ts';
import type { MediaFile } from '../stack.ts';
import { buffer, Tap } from '../stream.ts';
import { told } from './space.ts';
import { syncFileSystem } from './sync.ts';
import { causeOf, piecesOf } from './tar-read.ts';

/** The only names that a file of media may have; no part of them leads out of the folder. */
const mediaName = /^local_(content\/[\w-]{2}\/[\w-]{2}\/[\w-]{1,255}|thumbnails\/[\w-]{2}\/[\w-]{2}\/[\w-]{1,255}\/[\w-][\w.-]{0,254})$/;

/** Media of a restore, unpacked on the same file system as the live ones, so that a link puts each in its place. */
export class MediaRestore {
  readonly #mediaPath: string;
  readonly #id: string;

  constructor(mediaPath: string, id: string) {
    this.#mediaPath = mediaPath;
    this.#id = id;
  }

  async file(path: string): Promise<Omit<MediaFile, 'path'> | null> {
    assertName(path);
    const at = join(this.#mediaPath, path);
    const stats = await lstat(at).catch(() => null);
    if (stats?.isFile() !== true) return null;
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of createReadStream(at, { highWaterMark: buffer }) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    return { bytes, sha256: hash.digest('hex') };
  }

  async stage(tar: AsyncIterable<Uint8Array>, wanted: (path: string, bytes: number) => boolean, signal: AbortSignal): Promise<MediaFile[]> {
    const home = await this.#home();
    const owner = await stat(this.#mediaPath).catch(() => null);
    const taken: MediaFile[] = [];
    const seen = new Set<string>();
    const archive = extract();
    const feeding = pipeline(tar, archive, { signal });
    feeding.catch(() => undefined);
    try {
      for await (const entry of archive) {
        const { name, type, size } = entry.header;
        if (type !== 'file' || !mediaName.test(name))
          throw new Failure('restore.unsafe-name', {
            attempted: 'unpack media',
            reason: `${JSON.stringify(name)} (${type}) is no file of media`,
          });
        if (!wanted(name, size)) {
          entry.resume();
          continue;
        }
        if (seen.has(name))
          throw new Failure('restore.unsafe-name', { attempted: 'unpack media', reason: `${JSON.stringify(name)} is there twice` });
        seen.add(name);
        const to = join(home, 'new', name);
        await this.#makeFolder(dirname(to), home);
        const tap = new Tap();
        await pipeline(piecesOf(entry), tap, createWriteStream(to, { mode: 0o640, highWaterMark: 4 * buffer }));
        if (owner !== null && process.getuid?.() === 0) await chown(to, owner.uid, owner.gid);
        taken.push({ path: name, bytes: tap.bytes, sha256: tap.digest() });
      }
      await feeding;
    } catch (error) {
      signal.throwIfAborted();
      throw told(await causeOf(feeding, error, 'unpack media'), 'unpack media', home);
    }
    return taken;
  }

  async add(): Promise<void> {
    const home = await this.#home();
    let added = 0;
    for await (const path of filesBelow(join(home, 'new'))) {
      const [from, to, aside] = [join(home, 'new', path), join(this.#mediaPath, path), join(home, 'old', path)];
      const [ours, live] = await Promise.all([lstat(from), lstat(to).catch(() => null)]);
      if (live?.ino === ours.ino && live.dev === ours.dev) continue;
      await this.#makeFolder(dirname(to), this.#mediaPath);
      if (live !== null) {
        await mkdir(dirname(aside), { recursive: true });
        await rename(to, aside);
      }
      await link(from, to);
      added += 1;
    }
    if (added > 0) await syncFileSystem(this.#mediaPath);
  }

  async takeBack(): Promise<void> {
    const home = await this.#home();
    for await (const path of filesBelow(join(home, 'new'))) {
      const to = join(this.#mediaPath, path);
      const [ours, live] = await Promise.all([lstat(join(home, 'new', path)), lstat(to).catch(() => null)]);
      if (live?.ino === ours.ino && live.dev === ours.dev) await rm(to);
    }
    for await (const path of filesBelow(join(home, 'old'))) {
      const to = join(this.#mediaPath, path);
      if ((await lstat(to).catch(() => null)) === null) await rename(join(home, 'old', path), to);
    }
  }

  async drop(): Promise<void> {
    await rm(await this.#home(), { recursive: true, force: true });
  }

  /** Beside the folder of media, or in it where that is a disk of its own. */
  async #home(): Promise<string> {
    const beside = dirname(this.#mediaPath);
    const [outer, inner] = await Promise.all([stat(beside), stat(this.#mediaPath).catch(() => null)]);
    return inner === null || outer.dev === inner.dev
      ? `${this.#mediaPath}.restore-${this.#id}`
      : join(this.#mediaPath, `.steward-restore-${this.#id}`);
  }

  /** The folders down to `path`, owned as the one of media is. No link among them is followed. */
  async #makeFolder(path: string, top: string): Promise<void> {
    const owner = await stat(this.#mediaPath).catch(() => null);
    const missing: string[] = [];
    for (let at = path; at !== dirname(top); at = dirname(at)) {
      const stats = await lstat(at).catch(() => null);
      if (stats === null) missing.unshift(at);
      else if (!stats.isDirectory() && at !== top)
        throw new Failure('restore.unsafe-name', { attempted: 'unpack media', reason: `${at} is no folder` });
    }
    for (const folder of missing) {
      await mkdir(folder, { mode: 0o750 }).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      });
      if (owner !== null && process.getuid?.() === 0) await chown(folder, owner.uid, owner.gid);
    }
  }
}

function assertName(path: string): void {
  if (!mediaName.test(path))
    throw new Failure('restore.unsafe-name', { attempted: 'restore media', reason: `${JSON.stringify(path)} is no file of media` });
}

/** Relative paths of the files below a folder; none where it is not there. */
async function* filesBelow(folder: string, prefix = ''): AsyncGenerator<string> {
  const entries = await opendir(join(folder, prefix)).catch(() => null);
  if (entries === null) return;
  for await (const entry of entries) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) yield* filesBelow(folder, path);
    else yield path;
  }
}
