import type { Part } from '../reply/parts.ts';
import { lineText, renderPlain, type TextOptions } from '../reply/plain.ts';
import type { ShellMessage } from './messages.ts';

export type ReplyMessage = Extract<ShellMessage, { type: 'reply' }>;

/** The two lines of the error grammar in a reply, without their first words; null where it tells of no error. */
export function errorIn(parts: readonly Part[], timeZone: string): { message: string; hint: string | null } | null {
  const message = after(parts, 'error:', timeZone);
  return message === null ? null : { message, hint: after(parts, 'hint:', timeZone) };
}

function after(parts: readonly Part[], word: string, timeZone: string): string | null {
  for (const part of parts) {
    const first = part.kind === 'text' ? part.line[0] : undefined;
    if (part.kind === 'text' && typeof first === 'object' && 'strong' in first && first.strong === word)
      return lineText(part.line.slice(1), options(timeZone)).trim();
  }
  return null;
}

/**
 * A reply as the one document that `--json` prints: of a change its result, of a failure what `error:` and `hint:` say.
 * A dry run, and a list of which some failed, have no result of their own, and give their text.
 */
export function answerDocument(reply: ReplyMessage, timeZone: string): string {
  const { command, outcome, result } = reply;
  const error = errorIn(reply.parts, timeZone);
  const text = (): string => renderPlain(reply.parts, options(timeZone));
  const ids = { job_id: reply.jobId ?? null, error_id: reply.errorId ?? null };
  const failed = outcome !== 'done' && outcome !== 'waiting';
  const document = failed
    ? {
        command,
        outcome,
        ...ids,
        message: error?.message ?? text(),
        hint: error?.hint ?? null,
        ...(Array.isArray(result) ? { result } : {}),
      }
    : { command, outcome, ...ids, result: result ?? null, ...(result === undefined ? { message: text() } : {}) };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function options(timeZone: string): TextOptions {
  return { timeZone, prefix: 'steward ', wide: true };
}
