import type { Readable, Writable } from 'node:stream';
import { visible } from '../reply/visible.ts';

/** Questions to the person at the terminal. An answer is null when the prompt was left with Ctrl-C or taken away. */
export interface Prompts {
  /** Whether there is a terminal to ask on. */
  available: boolean;
  /** Yes or no; no unless told. */
  confirm(question: string, signal: AbortSignal): Promise<boolean | null>;
  /** A line of text. */
  line(question: string, signal: AbortSignal): Promise<string | null>;
  /** A line that is not shown. */
  secret(question: string): Promise<string | null>;
}

type Stream<T> = T & { isTTY?: boolean };

/** Prompts on standard error, so that standard output stays the answer's own. */
export function terminalPrompts(input: Stream<Readable>, output: Stream<Writable>): Prompts {
  return {
    available: input.isTTY === true && output.isTTY === true,
    confirm: async (question, signal) => {
      const { confirm } = await import('@inquirer/prompts');
      return orLeft(confirm({ message: visible(question), default: false }, { input, output, signal }));
    },
    line: async (question, signal) => {
      const inquirer = await import('@inquirer/prompts');
      return orLeft(inquirer.input({ message: visible(question) }, { input, output, signal }));
    },
    secret: async (question) => {
      const { password } = await import('@inquirer/prompts');
      return orLeft(
        password(
          { message: visible(question), mask: false, toggleMask: false, validate: (value) => value !== '' || 'It must not be empty.' },
          { input, output },
        ),
      );
    },
  };
}

async function orLeft<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Error && ['ExitPromptError', 'AbortPromptError', 'CancelPromptError'].includes(error.name)) return null;
    throw error;
  }
}
