import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { Failure } from '../../failures/failure.ts';
import type { DatabaseFacts, Snapshot } from '../stack.ts';

type Row = Record<string, unknown>;

/** @throws Failure `stack.database-unreachable` */
export function openSqlite(path: string, readOnly: boolean): DatabaseSync {
  try {
    return new DatabaseSync(path, { readOnly, timeout: 10_000 });
  } catch (error) {
    throw new Failure('stack.database-unreachable', {
      attempted: `open the database ${path}`,
      reason: 'the file is not there, or cannot be read',
      cause: error,
    });
  }
}

/** Whether SQLite says that a file is none of its databases, or a damaged one. */
export function isDamaged(error: unknown): boolean {
  // SQLITE_CORRUPT and SQLITE_NOTADB, without what extends them.
  return [11, 26].includes(((error as { errcode?: number } | null)?.errcode ?? 0) & 0xff);
}

/** The file as it is at one instant, by SQLite's online backup, in a folder of its own that `close` removes. */
export interface SqliteCopy extends Snapshot {
  path: string;
}

/**
 * Copies the database while the homeserver uses it. One-time keys are not in the copy: handed out twice, they break the
 * encryption of whoever gets them.
 */
export async function copySqlite(path: string, dir: string): Promise<SqliteCopy> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const home = await mkdtemp(join(dir, 'copy-'));
  const copy = join(home, 'homeserver.db');
  const remove = (): Promise<void> => rm(home, { recursive: true, force: true });
  try {
    const source = openSqlite(path, true);
    try {
      // A copy in steps begins anew whenever somebody has written between two: of one view it is one copy, however long it takes.
      source.exec('BEGIN');
      const [mode] = source.prepare('PRAGMA journal_mode').all();
      source.prepare('SELECT count(*) FROM sqlite_master').get();
      // Without a write-ahead log who writes waits for the view to end: all at once is the shortest.
      await backup(source, copy, { rate: mode?.['journal_mode'] === 'wal' ? 1000 : 2 ** 31 - 1 });
    } finally {
      source.close();
    }
    const database = openSqlite(copy, false);
    // Freed pages are wiped, and no journal is left beside the file.
    database.exec('PRAGMA journal_mode = DELETE; PRAGMA secure_delete = ON; DELETE FROM e2e_one_time_keys_json');
    database.exec('PRAGMA query_only = ON');
    return {
      path: copy,
      ...readerOf(database),
      close: async () => {
        if (database.isOpen) database.close();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

export function readerOf(database: DatabaseSync): Pick<Snapshot, 'rows' | 'batches'> {
  return {
    rows: (sql) => Promise.resolve().then(() => database.prepare(sql).all() as Row[]),
    batches: async function* (sql, size) {
      let batch: Row[] = [];
      for (const row of database.prepare(sql).iterate()) {
        batch.push(row);
        if (batch.length < size) continue;
        yield await Promise.resolve(batch);
        batch = [];
      }
      if (batch.length > 0) yield batch;
    },
  };
}

export function sqliteFacts(database: DatabaseSync): DatabaseFacts {
  const one = (sql: string): Row | undefined => database.prepare(sql).get();
  const pages = Number(one('PRAGMA page_count')?.['page_count']);
  return {
    version: String(one('SELECT sqlite_version() AS version')?.['version']),
    major: null,
    bytes: pages * Number(one('PRAGMA page_size')?.['page_size']),
    collation: null,
    encoding: null,
    schemaVersion: Number(one('SELECT version FROM schema_version')?.['version']),
    compatVersion: Number(one('SELECT compat_version FROM schema_compat_version')?.['compat_version']),
  };
}
