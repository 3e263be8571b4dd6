import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { Database } from '../../src/store/database.ts';
import { Store } from '../../src/store/store.ts';

/**
 * A migrated database in memory, which outlives the processes that use it: what they committed is there for the next one.
 * All of a history is one transaction around theirs, whose end makes the database as it was, to the byte.
 */
export class ModelDatabase {
  readonly #database = new Database(':memory:', { enableForeignKeyConstraints: false });

  constructor() {
    Store.over(this.#database);
    this.#database.exec('BEGIN');
  }

  /** The store of one process; after `end` it can do nothing with it. */
  attach(): { store: Store; end: () => void } {
    const connection = new ProcessConnection(this.#database);
    return { store: Store.over(connection as unknown as DatabaseSync), end: () => (connection.isOpen = false) };
  }

  /** As it was made. */
  reset(): void {
    this.#database.exec('ROLLBACK; BEGIN');
  }

  close(): void {
    this.#database.close();
  }
}

/** What a process that has ended meets where it goes on by mistake: nothing of it may be kept, and nobody hears of it. */
export class ProcessEnded extends Error {
  override readonly name = 'ProcessEnded';
}

/** What a process has of the database. Its transactions are savepoints within that of the history. */
class ProcessConnection {
  isOpen = true;
  isTransaction = false;
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  exec(sql: string): void {
    this.#check();
    // Whoever opens a database sets it up; this one is.
    if (sql.startsWith('PRAGMA')) return;
    this.isTransaction = sql === 'BEGIN IMMEDIATE';
    if (sql === 'BEGIN IMMEDIATE') this.#database.exec('SAVEPOINT process');
    else if (sql === 'COMMIT') this.#database.exec('RELEASE process');
    else if (sql === 'ROLLBACK') this.#database.exec('ROLLBACK TO process; RELEASE process');
    else this.#database.exec(sql);
  }

  prepare(sql: string): object {
    const statement = this.#database.prepare(sql);
    const whileOpen =
      <T>(work: (...values: SQLInputValue[]) => T) =>
      (...values: SQLInputValue[]): T => {
        this.#check();
        return work(...values);
      };
    return {
      get: whileOpen((...values) => statement.get(...values)),
      all: whileOpen((...values) => statement.all(...values)),
      run: whileOpen((...values) => statement.run(...values)),
    };
  }

  close(): void {
    this.isOpen = false;
  }

  #check(): void {
    if (!this.isOpen) throw new ProcessEnded();
  }
}
