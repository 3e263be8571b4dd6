import { createReadStream } from 'node:fs';
import { open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure } from '../../failures/failure.ts';
import { buffer, release, Tally } from '../../stack/stream.ts';
import { assertObjectName, type Destination, type Stored, type StoredObject } from './destination.ts';
import { makeFolders } from './make-folders.ts';

/** What a put writes to before it is whole. */
const unfinished = '.partial';

/** A folder on this machine, or mounted on it. Files 0600 in folders 0700. */
export class DirectoryDestination implements Destination {
  readonly name: string;
  readonly place: string;
  readonly access = null;
  readonly largest = Infinity;

  /** @param dir absolute */
  constructor(name: string, dir: string) {
    this.name = name;
    this.place = dir;
  }

  async put(name: string, chunks: AsyncIterable<Uint8Array>): Promise<Stored> {
    const path = this.#path(name);
    const partial = `${path}${unfinished}`;
    try {
      await makeFolders(dirname(path));
      const stored = await written(partial, chunks);
      await rename(partial, path);
      await this.#syncUp(dirname(path));
      return stored;
    } catch (error) {
      await rm(partial, { force: true }).catch(() => undefined);
      throw this.#failure(error, `store ${name} in ${this.name}`);
    }
  }

  async *get(name: string): AsyncGenerator<Uint8Array> {
    try {
      yield* createReadStream(this.#path(name), { highWaterMark: buffer }) as AsyncIterable<Buffer>;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        throw new Failure('backup.missing', { attempted: `read ${name} in ${this.name}`, cause: error });
      throw this.#failure(error, `read ${name} in ${this.name}`);
    }
  }

  async size(name: string): Promise<number | null> {
    try {
      const stats = await stat(this.#path(name));
      return stats.isFile() ? stats.size : null;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw this.#failure(error, `look at ${name} in ${this.name}`);
    }
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    const folder = prefix === '' ? this.place : this.#path(prefix.slice(0, -1));
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw this.#failure(error, `list ${this.name}`);
    });
    for (const entry of entries) {
      const name = `${prefix}${entry.name}`;
      if (entry.isDirectory()) yield* this.list(`${name}/`);
      else if (entry.isFile() && !entry.name.endsWith(unfinished)) {
        const bytes = await stat(join(folder, entry.name)).then(
          (stats) => stats.size,
          () => null,
        );
        if (bytes !== null) yield { name, bytes };
      }
    }
  }

  async remove(name: string): Promise<void> {
    try {
      await rm(this.#path(name), { force: true });
    } catch (error) {
      throw this.#failure(error, `remove ${name} in ${this.name}`);
    }
  }

  async clear(prefix: string): Promise<void> {
    const folder = this.#path(prefix.slice(0, -1));
    try {
      await rm(folder, { recursive: true, force: true });
    } catch (error) {
      throw this.#failure(error, `clear ${prefix} in ${this.name}`);
    }
  }

  async abandon(prefix: string): Promise<void> {
    const folder = this.#path(prefix.slice(0, -1));
    try {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
        throw error;
      });
      for (const entry of entries) if (entry.name.endsWith(unfinished)) await rm(join(entry.parentPath, entry.name), { force: true });
    } catch (error) {
      throw this.#failure(error, `tidy ${prefix} in ${this.name}`);
    }
  }

  async free(): Promise<number | null> {
    await makeFolders(this.place).catch(() => undefined);
    const stats = await statfs(this.place).catch(() => null);
    return stats === null ? null : stats.bavail * stats.bsize;
  }

  #path(name: string): string {
    assertObjectName(name);
    return join(this.place, name);
  }

  /** A new name lasts over a power cut only when its folder is flushed, and that folder's name in the one above. */
  async #syncUp(folder: string): Promise<void> {
    for (let at = folder; at.startsWith(this.place); at = dirname(at)) {
      const handle = await open(at);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
  }

  #failure(error: unknown, attempted: string): unknown {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG')
      return new Failure('backup.destination-full', { attempted, reason: `${this.place} is full`, cause: error });
    // What a source threw is its own failure.
    if (error instanceof Failure || typeof (error as NodeJS.ErrnoException).syscall !== 'string') return error;
    return new Failure('backup.destination-failed', { attempted, reason: `${this.place}: ${code ?? 'unknown'}`, cause: error });
  }
}

/** Each chunk is hashed while the one before it is written. */
async function written(path: string, chunks: AsyncIterable<Uint8Array>): Promise<Stored> {
  const tally = new Tally();
  const file = await open(path, 'w', 0o600);
  try {
    let writing = Promise.resolve();
    for await (const chunk of chunks) {
      tally.add(chunk);
      await writing;
      writing = file.writeFile(chunk).then(() => release(chunk));
      // It is awaited, though what gives the chunks may throw before.
      writing.catch(() => undefined);
    }
    await writing;
    await file.sync();
  } finally {
    await file.close();
  }
  return tally.arrived();
}
