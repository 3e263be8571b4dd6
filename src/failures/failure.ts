import { failureTable, type ExitCode, type FailureId, type FailureRecord } from './table.ts';

export interface FailureDetails {
  /** What was being done, after "cannot": "create @alice:example.org". */
  attempted?: string;
  /** What is wrong in this case; the table's summary when left out. Never holds a secret. */
  reason?: string;
  /** Replaces the table's hint. */
  hint?: string;
  /** The piece of input that is wrong, with carets under it. */
  excerpt?: string | undefined;
  cause?: unknown;
}

/** A failure that a person can be told: an id of the table, what was attempted, and why it failed. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly id: FailureId;
  readonly attempted: string | undefined;
  readonly reason: string;
  readonly hint: string;
  readonly excerpt: string | undefined;

  constructor(id: FailureId, details: FailureDetails = {}) {
    const record: FailureRecord = failureTable[id];
    const reason = details.reason ?? lowerFirst(record.summary).replace(/\.$/, '');
    super(sentence(id, details.attempted, reason), details.cause === undefined ? undefined : { cause: details.cause });
    this.id = id;
    this.attempted = details.attempted;
    this.reason = reason;
    this.hint = details.hint ?? record.hint;
    this.excerpt = details.excerpt;
  }

  get exit(): ExitCode {
    return failureTable[this.id].exit;
  }

  get retry(): boolean {
    return failureTable[this.id].retry;
  }

  /** The same failure, saying what was attempted when it did not say so itself. */
  whileAttempting(attempted: string): Failure {
    if (this.attempted !== undefined) return this;
    return new Failure(this.id, { attempted, reason: this.reason, hint: this.hint, excerpt: this.excerpt, cause: this.cause });
  }
}

/** Any thrown thing as a Failure: a bug becomes `internal.bug`, with the thing as its cause. */
export function asFailure(thrown: unknown): Failure {
  return thrown instanceof Failure ? thrown : new Failure('internal.bug', { cause: thrown });
}

/** The two lines that room and terminal show, without the words "error:" and "hint:". */
export function sentence(id: FailureId, attempted: string | undefined, reason: string): string {
  return attempted === undefined ? `${reason} (${id})` : `cannot ${attempted}: ${reason} (${id})`;
}

function lowerFirst(text: string): string {
  return text.startsWith('Steward') || text.startsWith("The homeserver's") ? text : text.charAt(0).toLowerCase() + text.slice(1);
}
