import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach } from '@jest/globals';
import type { Outcome } from '../../src/reply/reply.ts';
import { text, type Part } from '../../src/reply/parts.ts';
import type { ShellMessage, ShellRequest } from '../../src/terminal/messages.ts';
import { openOutput, type Output } from '../../src/terminal/output.ts';
import type { Prompts } from '../../src/terminal/prompts.ts';
import type { ShellSession } from '../../src/terminal/session.ts';
import type { Terminal } from '../../src/terminal/shell.ts';

const cleanups: (() => unknown)[] = [];

/** Undoes it after the test, the latest first. */
export function later(undo: () => unknown): void {
  cleanups.push(undo);
}

afterEach(async () => {
  for (const undo of cleanups.splice(0).reverse()) await undo();
});

/** A new folder that goes with the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'steward-terminal-'));
  later(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

export async function until(condition: () => boolean, ms = 5000): Promise<void> {
  const last = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > last) throw new Error('it did not come true in time');
    await sleep(5);
  }
}

export const request = (...words: string[]): ShellRequest => ({ words, items: null, secrets: {} });

export function reply(outcome: Outcome, more: Partial<Extract<ShellMessage, { type: 'reply' }>> = {}): ShellMessage {
  return { type: 'reply', command: 'user list', outcome, parts: [text('an answer')], wide: false, dataName: null, ...more };
}

export const errorParts: Part[] = [text({ strong: 'error:' }, ' it broke (internal.bug)'), text({ strong: 'hint:' }, ' mend it')];
export const end: ShellMessage = { type: 'end' };
export const prompt = (typeTarget: string | null = null): ShellMessage => ({
  type: 'prompt',
  jobId: 'job1',
  parts: [text('Please confirm')],
  typeTarget,
});

type Script = (session: FakeSession) => AsyncIterable<ShellMessage> | Iterable<ShellMessage>;

/** A session that says what a test tells it to, and keeps what it was asked. */
export class FakeSession implements ShellSession {
  readonly requests: ShellRequest[] = [];
  readonly decisions: [string, boolean][] = [];
  /** What `decide` answers. */
  accepts = true;
  returned = false;
  readonly #say: Script;

  constructor(say: Script) {
    this.#say = say;
  }

  async *run(asked: ShellRequest): AsyncGenerator<ShellMessage> {
    this.requests.push(asked);
    try {
      yield* this.#say(this);
    } finally {
      this.returned = true;
    }
  }

  decide(jobId: string, yes: boolean): Promise<boolean> {
    this.decisions.push([jobId, yes]);
    return Promise.resolve(this.accepts);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export interface Captured extends Output {
  text(): string;
}

/** An output that keeps what it is given. */
export function captured(): Captured {
  const chunks: string[] = [];
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      chunks.push(chunk.toString());
      done();
    },
  });
  return { ...openOutput(stream), text: () => chunks.join('') };
}

export const noPrompts: Prompts = {
  available: false,
  confirm: () => Promise.resolve(null),
  line: () => Promise.resolve(null),
  secret: () => Promise.resolve(null),
};

export interface FakeTerminal extends Terminal {
  stdout: Captured;
  stderr: Captured;
}

export function fakeTerminal(prompts: Partial<Prompts> | null = null): FakeTerminal {
  return {
    stdin: new PassThrough(),
    stdout: captured(),
    stderr: captured(),
    prompts: prompts === null ? noPrompts : { ...noPrompts, available: true, ...prompts },
  };
}
