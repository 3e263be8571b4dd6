import { chown, link, rename, rm, stat } from 'node:fs/promises';
import { createZstdDecompress } from 'node:zlib';
import { createWriteStream, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Failure } from '../../failures/failure.ts';
import { toldApart } from '../stream.ts';
import type { Direction, LoadFormat, RestoreDatabases, Snapshot, Space } from '../stack.ts';
import { isDamaged, openSqlite, readerOf } from './sqlite.ts';
import { freeAt, noSpace, told } from './space.ts';
import { syncFolder } from './sync.ts';

/** A restore beside an SQLite file: a file, put in place of the live one by a rename. */
export class SqliteRestore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async load(id: string, format: LoadFormat, data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string[]> {
    if (format !== 'sqlite')
      throw new Failure('restore.refused', {
        attempted: 'load the database',
        reason: 'the backup is of PostgreSQL, and the homeserver uses SQLite',
      });
    const path = this.#at(id, 'prepared');
    await this.drop(id, 'prepared');
    const { source, assertWhole } = toldApart(data);
    try {
      await pipeline(source, createZstdDecompress(), createWriteStream(path, { mode: 0o600, flush: true }), { signal });
    } catch (error) {
      await this.drop(id, 'prepared');
      signal.throwIfAborted();
      assertWhole();
      const cause = told(error, 'load the database', path);
      if (cause instanceof Failure) throw cause;
      throw new Failure('backup.unreadable', { attempted: 'read the copy of the database', reason: 'it is no whole zstd', cause: error });
    }
    // Whoever the homeserver is must be able to write it, also where the live one is gone.
    const live = await stat(this.#path).catch(() => stat(dirname(this.#path)));
    if (process.getuid?.() === 0) await chown(path, live.uid, live.gid);
    const database = openSqlite(path, false);
    try {
      database.exec('DELETE FROM e2e_one_time_keys_json');
    } catch (error) {
      // SQLITE_FULL.
      if ((error as { errcode?: number }).errcode === 13) throw noSpace('load the database', path, error);
      throw error;
    } finally {
      database.close();
    }
    return [];
  }

  openPrepared(id: string): Promise<Snapshot> {
    const database = openSqlite(this.#at(id, 'prepared'), true);
    return Promise.resolve({
      ...readerOf(database),
      close: () => {
        if (database.isOpen) database.close();
        return Promise.resolve();
      },
    });
  }

  databases(id: string): Promise<RestoreDatabases> {
    return Promise.resolve({
      live: existsSync(this.#path),
      prepared: existsSync(this.#at(id, 'prepared')),
      kept: existsSync(this.#at(id, 'kept')),
    });
  }

  /** The live name is never without a file: the old one is linked to its second name, and a rename replaces it. */
  async swap(id: string, direction: Direction): Promise<void> {
    await this.#swap(id, direction);
    // What is written down next says that it was done.
    await syncFolder(dirname(this.#path));
  }

  async #swap(id: string, direction: Direction): Promise<void> {
    const [prepared, kept] = [this.#at(id, 'prepared'), this.#at(id, 'kept')];
    const there = await this.databases(id);
    if (direction === 'in' ? !there.prepared : !there.kept && there.prepared) return;
    if (there.live) settle(this.#path);
    if (direction === 'in') {
      if (there.live) await linkOnce(this.#path, kept);
      // Of a file that is gone or damaged: SQLite would write them into the one that takes its name.
      await moveJournals(this.#path, kept);
      await rename(prepared, this.#path);
      return;
    }
    if (!there.kept) {
      await rename(this.#path, prepared);
      return;
    }
    if (!there.prepared) await linkOnce(this.#path, prepared);
    await moveJournals(this.#path, prepared);
    await rename(kept, this.#path);
    await moveJournals(kept, this.#path);
    // Two names of one file: a rename leaves both.
    await rm(kept, { force: true });
  }

  /** Beside the file itself, its journal of the one-time keys that go. */
  async space(bytes: number): Promise<Space> {
    const place = dirname(this.#path);
    return { place, needed: Math.ceil(bytes * 1.05), free: await freeAt(place), grant: null };
  }

  async drop(id: string, which: 'prepared' | 'kept'): Promise<void> {
    for (const end of ['', ...journals]) await rm(`${this.#at(id, which)}${end}`, { force: true });
  }

  #at(id: string, which: 'prepared' | 'kept'): string {
    return `${this.#path}.${which === 'prepared' ? 'restore' : 'before'}-${id}`;
  }
}

/** What lies beside a file, by its name: the log that is written ahead, its index, the journal of what is taken back. */
const journals = ['-wal', '-shm', '-journal'];

async function moveJournals(from: string, to: string): Promise<void> {
  for (const end of journals) {
    await rename(`${from}${end}`, `${to}${end}`).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    });
  }
}

/** A second name for the same file. */
async function linkOnce(from: string, to: string): Promise<void> {
  await link(from, to).catch(async (error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const [one, other] = await Promise.all([stat(from), stat(to)]);
    if (one.ino !== other.ino) throw error;
  });
}

/** What a write-ahead log or a journal holds is taken into the file: they go by the name, and not with the file. */
function settle(path: string): void {
  const database = openSqlite(path, false);
  try {
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  } catch (error) {
    // As it is it is kept: it may be why a backup is restored.
    if (!isDamaged(error)) throw error;
  } finally {
    database.close();
  }
}
