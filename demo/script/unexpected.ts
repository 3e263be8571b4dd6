import type { Statement } from './statement.ts';

/** A line that did not come true; the message says what was expected. */
export class Unexpected extends Error {
  override readonly name = 'Unexpected';
  readonly statement: Statement;

  constructor(statement: Statement, message: string) {
    super(message);
    this.statement = statement;
  }
}
