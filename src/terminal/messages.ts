import { asFailure, type Failure } from '../failures/failure.ts';
import type { Part } from '../reply/parts.ts';
import { failureReply, type Outcome, type Reply } from '../reply/reply.ts';

/** A command as the shell gives it. */
export interface ShellRequest {
  /** The words after `steward`, without those that only the terminal knows. */
  words: readonly string[];
  /** Lines of `--input FILE`, or null. */
  items: readonly string[] | null;
  /** Values of secret arguments by name; in memory and on the socket only. */
  secrets: Readonly<Record<string, string>>;
  /** The reason of `--break-glass`. */
  breakGlass?: string | undefined;
}

/**
 * What a session says, in this order: at most one prompt or wait, what is told meanwhile, then one reply, then the chunks of its data, then end. Data
 * that break off are followed by the reply of the failure.
 */
export type ShellMessage =
  | {
      type: 'prompt';
      jobId: string;
      parts: readonly Part[];
      /** What must be typed; null where yes or no is asked. */ typeTarget: string | null;
    }
  /** People in the admin room are asked; to go away takes the request back. */
  | { type: 'waiting'; jobId: string; parts: readonly Part[] }
  /** What is asked of a person elsewhere while the command runs. */
  | { type: 'told'; parts: readonly Part[] }
  | {
      type: 'reply';
      command: string | null;
      outcome: Outcome;
      parts: readonly Part[];
      jobId?: string | undefined;
      errorId?: string | undefined;
      wide: boolean;
      /** The command's result for `--json` of a change; absent for reads, whose data follows. */
      result?: unknown;
      /** Name of the file that the chunks make up, or null when none follow. */
      dataName: string | null;
    }
  | { type: 'data'; chunk: string }
  | { type: 'end' };

/** The messages of a command that failed before it had a reply. */
export function failureMessages(failure: Failure): AsyncIterable<ShellMessage> {
  return replyMessages(failureReply(failure, null), undefined);
}

/** A reply, its data as they come, and the end. `result` is that of a change. */
export async function* replyMessages(reply: Reply, result: unknown): AsyncGenerator<ShellMessage> {
  yield {
    type: 'reply',
    command: reply.command,
    outcome: reply.outcome,
    parts: reply.parts,
    jobId: reply.jobId,
    errorId: reply.errorId,
    wide: reply.wide === true,
    dataName: reply.data?.name ?? null,
    ...(result === undefined ? {} : { result }),
  };
  if (reply.data !== undefined) {
    try {
      for await (const chunk of reply.data.chunks) yield { type: 'data', chunk };
    } catch (error) {
      yield* replyMessages(failureReply(asFailure(error), reply.command), undefined);
      return;
    }
  }
  yield { type: 'end' };
}
