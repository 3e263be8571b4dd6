import type { Failure } from '../failures/failure.ts';
import { code, text, type Inline, type Part } from './parts.ts';

export type Outcome = 'done' | 'failed' | 'refused' | 'usage' | 'unreachable' | 'waiting' | 'unknown';

/** Rows that are written to a file in the room and to standard output in the shell; read once. */
export interface DataStream {
  /** File name without a path: `users.csv`. */
  name: string;
  mediaType: 'text/csv' | 'application/json' | 'application/x-ndjson' | 'text/plain';
  chunks: AsyncIterable<string>;
}

export interface Reply {
  /** Full name of the command, or null when none was recognised. */
  command: string | null;
  outcome: Outcome;
  parts: readonly Part[];
  jobId?: string | undefined;
  errorId?: string | undefined;
  /** What went wrong, on one line. */
  problem?: string | undefined;
  /** User ids to notify; a reply that mentions somebody is sent so that it pings. */
  mentions?: readonly string[] | undefined;
  data?: DataStream | undefined;
  /** More of the content of its message in a room, under namespaced keys. */
  content?: Readonly<Record<string, unknown>> | undefined;
  /** Tables as wide as they are, for a desk. */
  wide?: boolean | undefined;
}

/** A hint with what stands in backticks as code; `!user info` there is a command, shown as it is typed where it is read. */
export function hintLine(hint: string): Inline[] {
  return hint.split('`').map((piece, at): Inline => {
    if (at % 2 === 0) return piece;
    return piece.startsWith('!') ? { command: piece.slice(1) } : { code: piece };
  });
}

const outcomeOfExit = { 1: 'failed', 2: 'usage', 3: 'refused', 4: 'unreachable' } as const;

/** How the shell ends for an outcome: 0 done, 1 failed, 2 usage, 3 refused, 4 unreachable. */
export const exitOfOutcome: Record<Outcome, number> = { done: 0, waiting: 0, failed: 1, unknown: 1, usage: 2, refused: 3, unreachable: 4 };

/** The two lines of the error grammar, and the piece of input that they are about. */
export function failureReply(
  failure: Failure,
  command: string | null,
  options: { excerpt?: string | undefined; jobId?: string | undefined; reference?: string | undefined } = {},
): Reply {
  const reference = options.reference === undefined ? [] : [` (reference ${options.reference})`];
  const excerpt = options.excerpt ?? failure.excerpt;
  return {
    command,
    outcome: failure.id === 'job.unknown' || failure.id === 'homeserver.outcome-unknown' ? 'unknown' : outcomeOfExit[failure.exit],
    parts: [
      ...(excerpt === undefined ? [] : [code(excerpt)]),
      text({ strong: 'error:' }, ` ${failure.message}`, ...reference),
      text({ strong: 'hint:' }, ' ', ...hintLine(failure.hint)),
    ],
    errorId: failure.id,
    problem: failure.message,
    jobId: options.jobId,
  };
}
