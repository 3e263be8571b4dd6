import { chmodSync, copyFileSync, existsSync, rmSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { Failure } from '../failures/failure.ts';
import type { CommitHook } from './crash-point.ts';
import { Database } from './database.ts';
import { migrations } from './migrations.ts';

/** The database, with one transaction at a time. Opened only by the holder of the lock. */
export class Store {
  readonly database: DatabaseSync;
  readonly path: string;
  readonly #onCommit: CommitHook | null;
  #depth = 0;
  readonly #afterCommit = new Set<() => void>();
  /** Told when the disk is full; may free space for the next attempt. */
  onFull: () => void = () => undefined;

  private constructor(database: DatabaseSync, path: string, onCommit: CommitHook | null) {
    this.database = database;
    this.path = path;
    this.#onCommit = onCommit;
  }

  /**
   * Opens the store, making or migrating it. Before a migration the file is copied beside itself (`steward.db.v1`).
   *
   * @throws Failure `store.newer`, `store.unreadable`, `store.unwritable`
   */
  static open(path: string, onCommit: CommitHook | null = null): Store {
    const attempted = `open the store ${path}`;
    let database: DatabaseSync | undefined;
    try {
      // A migration may make a table anew, which must not take with it what refers to it.
      database = new Database(path, { enableForeignKeyConstraints: false });
      chmodSync(path, 0o600);
      return Store.over(database, path, onCommit);
    } catch (error) {
      database?.close();
      throw storeFailure(error, attempted);
    }
  }

  /** A store in a database that is open already, made or migrated. @param path of its file, empty where it is in memory only */
  static over(database: DatabaseSync, path = '', onCommit: CommitHook | null = null): Store {
    const version = userVersion(database);
    if (version > migrations.length) {
      const needed = factOf(database, 'written_by') ?? 'a newer version';
      throw new Failure('store.newer', { attempted: `open the store ${path}`, reason: `it needs Steward ${needed}` });
    }
    // A journal that survives power loss before an effect is made or a sync token moves on; freed pages are wiped.
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA busy_timeout = 2000');
    migrate(database, path, version);
    database.exec('PRAGMA foreign_keys = ON');
    return new Store(database, path, onCommit);
  }

  /**
   * Runs `work` so that all of it is kept or none; inner calls join the outer one.
   *
   * @throws Failure `store.unwritable` when the disk is full or read-only; whatever `work` throws
   */
  transaction<T>(work: () => T): T {
    return this.#depth > 0 ? work() : this.#commit(work, this.#onCommit);
  }

  #commit<T>(work: () => T, onCommit: CommitHook | null): T {
    this.#depth += 1;
    let result: T;
    try {
      this.database.exec('BEGIN IMMEDIATE');
      result = work();
      onCommit?.('before');
      this.database.exec('COMMIT');
      onCommit?.('after');
    } catch (error) {
      this.#afterCommit.clear();
      // A full disk may have rolled back by itself already.
      if (this.database.isTransaction) this.database.exec('ROLLBACK');
      if (isFull(error)) this.onFull();
      throw storeFailure(error, 'write to the store');
    } finally {
      this.#depth -= 1;
    }
    const after = [...this.#afterCommit];
    this.#afterCommit.clear();
    for (const then of after) then();
    return result;
  }

  /** Runs `then` once when the transaction that is open has been kept, and never when it is not. It must not throw. */
  afterCommit(then: () => void): void {
    this.#afterCommit.add(then);
  }

  /** Whether a write goes through now. */
  isWritable(): boolean {
    try {
      // No step of anything: crashes are not counted by it.
      this.#commit(
        () =>
          this.database
            // Another value each time: SQLite writes nothing for the one that is there.
            .prepare("INSERT INTO facts (name, value) VALUES ('probe', '1') ON CONFLICT (name) DO UPDATE SET value = 1 - value")
            .run(),
        null,
      );
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    this.database.close();
  }
}

function migrate(database: DatabaseSync, path: string, version: number): void {
  if (version === migrations.length) return;
  if (version > 0) {
    const copy = `${path}.v${version}`;
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    if (existsSync(copy)) rmSync(copy);
    copyFileSync(path, copy);
    forgetFile(copy);
  }
  database.exec('BEGIN EXCLUSIVE');
  for (const migration of migrations.slice(version)) database.exec(migration.sql);
  const last = migrations.at(-1);
  database
    .prepare("INSERT INTO facts (name, value) VALUES ('written_by', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
    .run(last?.since ?? '');
  database.exec(`PRAGMA user_version = ${migrations.length}`);
  database.exec('COMMIT');
}

/** It is put back in place of the store that it was made from, and is no copy then. */
function forgetFile(path: string): void {
  const copy = new Database(path);
  copy.exec("DELETE FROM facts WHERE name = 'store_file'");
  copy.close();
}

function userVersion(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
}

function factOf(database: DatabaseSync, name: string): string | null {
  const row = database.prepare('SELECT value FROM facts WHERE name = ?').get(name);
  return typeof row?.['value'] === 'string' ? row['value'] : null;
}

/** SQLite's result codes, primary part: https://sqlite.org/rescode.html */
const readOnly = 8;
const ioError = 10;
const corrupt = 11;
const full = 13;
const cannotOpen = 14;
const notADatabase = 26;

/** Whether this, or what caused it, is a disk without space. */
function isFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { errcode, code } = error as { errcode?: number; code?: string };
  return (errcode !== undefined && (errcode & 0xff) === full) || code === 'ENOSPC' || isFull(error.cause);
}

/** What SQLite or the system says of a file, as a Failure; anything else as it is. */
export function storeFailure(error: unknown, attempted: string): unknown {
  const code = (error as { errcode?: number } | null)?.errcode;
  if (code === undefined) {
    const system = (error as NodeJS.ErrnoException | null)?.code;
    return system === 'EACCES' || system === 'EROFS' || system === 'ENOSPC' || system === 'EPERM'
      ? new Failure('store.unwritable', {
          attempted,
          reason: system === 'ENOSPC' ? 'the disk is full' : `the file cannot be written (${system})`,
          cause: error,
        })
      : error;
  }
  const primary = code & 0xff;
  if (primary === full) return new Failure('store.unwritable', { attempted, reason: 'the disk is full', cause: error });
  if (primary === readOnly) return new Failure('store.unwritable', { attempted, reason: 'the file is read-only', cause: error });
  if (primary === ioError || primary === cannotOpen)
    return new Failure('store.unwritable', { attempted, reason: 'the file cannot be written', cause: error });
  if (primary === corrupt || primary === notADatabase)
    return new Failure('store.unreadable', { attempted, reason: 'the file is damaged or no database', cause: error });
  return error;
}
