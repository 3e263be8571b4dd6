import { tokenise } from '../../../src/commands/grammar/tokenise.ts';
import type { Core } from '../../../src/core.ts';
import type { ShellMessage } from '../../../src/terminal/session.ts';

export type ShellReply = Extract<ShellMessage, { type: 'reply' }>;

export interface LineOptions {
  /** Values of secret arguments, by name. */
  secrets?: Record<string, string>;
  /** Why it runs without the approval of others. */
  breakGlass?: string;
}

/** A line as in the shell, by the composition itself, with yes to every prompt. @param line words, or one that is split as the shell's */
export async function runLine(
  core: Core,
  line: string | readonly string[],
  { secrets = {}, ...more }: LineOptions = {},
): Promise<ShellReply> {
  const session = core.session();
  let reply: ShellReply | undefined;
  for await (const message of session.run({ words: typeof line === 'string' ? wordsOf(line) : [...line], items: null, secrets, ...more })) {
    if (message.type === 'prompt') await session.decide(message.jobId, true);
    if (message.type === 'reply') reply = message;
  }
  if (reply === undefined) throw new Error('no reply');
  return reply;
}

function wordsOf(line: string): string[] {
  const tokens = tokenise(line);
  if (!Array.isArray(tokens)) throw new Error(line);
  return tokens.map(({ value }) => value);
}
