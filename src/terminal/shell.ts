import type { Readable } from 'node:stream';
import { Failure } from '../failures/failure.ts';
import { text } from '../reply/parts.ts';
import { failureReply, exitOfOutcome } from '../reply/reply.ts';
import { answerDocument, errorIn, type ReplyMessage } from './answer.ts';
import type { ShellMessage, ShellRequest } from './messages.ts';
import type { Output } from './output.ts';
import type { Prompts } from './prompts.ts';
import { renderFor } from './render.ts';
import type { ShellSession } from './session.ts';

export interface Terminal {
  stdin: Readable;
  stdout: Output;
  stderr: Output;
  prompts: Prompts;
}

export interface View {
  timeZone: string;
  /** The answer as one JSON document on standard output, also of a failure. */
  json: boolean;
}

/**
 * Runs one command and shows what it says: data and answers on standard output, prompts and errors on standard error.
 *
 * @returns the exit code: 0 done, 1 failed, 2 usage, 3 refused, 4 unreachable
 * @throws Failure `usage.no-terminal`, and those of the session
 */
export async function runCommand(session: ShellSession, request: ShellRequest, terminal: Terminal, view: View): Promise<number> {
  let exit = 0;
  let streaming = false;
  let asking: Asking | null = null;
  try {
    for await (const message of session.run(request)) {
      if (message.type === 'prompt') asking = ask(session, message, terminal, view);
      else if (message.type === 'waiting') await wait(message, terminal, view);
      else if (message.type === 'told') await terminal.stderr.write(renderFor(terminal.stderr.stream, message.parts, view.timeZone));
      else if (message.type === 'reply') {
        await asking?.over();
        exit = exitOfOutcome[message.outcome];
        // Half a document on standard output cannot be mended: the error that cut it goes beside it.
        if (message.dataName === null) await show(message, terminal, { ...view, json: view.json && !streaming });
        streaming = message.dataName !== null;
      } else if (message.type === 'data' && !(await terminal.stdout.write(message.chunk))) break;
    }
  } finally {
    asking?.leave();
  }
  return exit;
}

/** Prints a failure as any command's. @returns its exit code */
export async function showFailure(failure: Failure, terminal: Pick<Terminal, 'stdout' | 'stderr'>, view: View): Promise<number> {
  const reply = failureReply(failure, null);
  await show({ ...reply, type: 'reply', wide: false, dataName: null }, terminal, view);
  return failure.exit;
}

async function show(reply: ReplyMessage, { stdout, stderr }: Pick<Terminal, 'stdout' | 'stderr'>, view: View): Promise<void> {
  if (view.json) {
    await stdout.write(answerDocument(reply, view.timeZone));
    return;
  }
  const output = errorIn(reply.parts, view.timeZone) === null ? stdout : stderr;
  await output.write(renderFor(output.stream, reply.parts, view.timeZone));
}

/** People elsewhere are asked: says so, and that leaving takes it back. */
async function wait({ parts }: Extract<ShellMessage, { type: 'waiting' }>, { stderr }: Terminal, view: View): Promise<void> {
  const hint = text('Waiting for the admin room. Ctrl-C takes the request back.');
  await stderr.write(renderFor(stderr.stream, [...parts, hint], view.timeZone));
}

interface Asking {
  /** The prompt is of no use any more. @throws Failure when there was nobody to ask */
  over(): Promise<void>;
  leave(): void;
}

/** Asks while the session is listened to, because the job may expire before the answer. */
function ask(session: ShellSession, prompt: Extract<ShellMessage, { type: 'prompt' }>, terminal: Terminal, view: View): Asking {
  const taken = new AbortController();
  const answer = decide(session, prompt, terminal, view, taken.signal);
  // Heard by over(), or not at all.
  answer.catch(() => undefined);
  return {
    leave: () => {
      taken.abort();
    },
    over: async () => {
      taken.abort();
      await answer;
    },
  };
}

async function decide(
  session: ShellSession,
  { jobId, parts, typeTarget }: Extract<ShellMessage, { type: 'prompt' }>,
  { prompts, stderr }: Terminal,
  view: View,
  signal: AbortSignal,
): Promise<void> {
  if (!prompts.available) {
    await session.decide(jobId, false);
    throw new Failure(
      'usage.no-terminal',
      typeTarget === null
        ? {}
        : { reason: `${typeTarget} must be typed, and there is no terminal to type it on`, hint: 'Type the command in a terminal.' },
    );
  }
  await stderr.write(renderFor(stderr.stream, parts, view.timeZone));
  const yes =
    typeTarget === null
      ? await prompts.confirm('Run it?', signal)
      : (await prompts.line(`Type ${typeTarget} to run it:`, signal))?.trim() === typeTarget;
  if (signal.aborted) return;
  // A yes that comes too late leaves nothing waiting.
  if (yes !== true || !(await session.decide(jobId, true))) await session.decide(jobId, false);
}
