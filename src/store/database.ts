import { DatabaseSync, type StatementSync } from 'node:sqlite';

/** A database that compiles each statement once, however often it is asked for. No statement may be run while its rows are being iterated. */
export class Database extends DatabaseSync {
  readonly #statements = new Map<string, StatementSync>();

  override prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = super.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}
