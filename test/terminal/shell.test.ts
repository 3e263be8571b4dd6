import { Writable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { Failure } from '../../src/failures/failure.ts';
import type { Outcome } from '../../src/reply/reply.ts';
import { text } from '../../src/reply/parts.ts';
import type { ShellMessage } from '../../src/terminal/messages.ts';
import { openOutput } from '../../src/terminal/output.ts';
import { runCommand, showFailure } from '../../src/terminal/shell.ts';
import { end, errorParts, FakeSession, fakeTerminal, prompt, reply, request, until, type FakeTerminal } from './support.ts';

const plain = { timeZone: 'UTC', json: false };
const json = { timeZone: 'UTC', json: true };

async function run(messages: readonly ShellMessage[], terminal: FakeTerminal, view = plain): Promise<number> {
  return runCommand(new FakeSession(() => messages), request('user', 'list'), terminal, view);
}

describe('a command in the shell', () => {
  test.each<[Outcome, number]>([
    ['done', 0],
    ['waiting', 0],
    ['failed', 1],
    ['unknown', 1],
    ['usage', 2],
    ['refused', 3],
    ['unreachable', 4],
  ])('that is %s ends with %i', async (outcome, exit) => {
    expect(await run([reply(outcome), end], fakeTerminal())).toBe(exit);
    expect(await run([reply(outcome), end], fakeTerminal(), json)).toBe(exit);
  });

  test('answers on standard output, and tells of errors on standard error', async () => {
    const good = fakeTerminal();
    await run([reply('done', { parts: [text('an answer, see ', { command: 'user info x' })] }), end], good);
    expect([good.stdout.text(), good.stderr.text()]).toEqual(['an answer, see steward user info x\n', '']);
    const bad = fakeTerminal();
    await run([reply('failed', { parts: errorParts }), end], bad);
    expect([bad.stdout.text(), bad.stderr.text()]).toEqual(['', 'error: it broke (internal.bug)\nhint: mend it\n']);
    // A list of which some failed is an answer: it says what was done.
    const mixed = fakeTerminal();
    expect(await run([reply('failed', { parts: [text('1 of 2 done')] }), end], mixed)).toBe(1);
    expect([mixed.stdout.text(), mixed.stderr.text()]).toEqual(['1 of 2 done\n', '']);
  });

  test('shows a failure of its own likewise', async () => {
    const terminal = fakeTerminal();
    expect(await showFailure(new Failure('store.locked'), terminal, plain)).toBe(3);
    expect(terminal.stderr.text()).toMatch(/^error: .* \(store\.locked\)\nhint: .*\n$/);
    expect(terminal.stdout.text()).toBe('');
  });

  test('streams data as they are and leaves out what is for the room', async () => {
    const terminal = fakeTerminal();
    expect(
      await run(
        [reply('done', { dataName: 'users.csv' }), { type: 'data', chunk: 'a,b\n' }, { type: 'data', chunk: '1,2\n' }, end],
        terminal,
        json,
      ),
    ).toBe(0);
    expect([terminal.stdout.text(), terminal.stderr.text()]).toEqual(['a,b\n1,2\n', '']);
  });

  test('fails when its data break off, and says so beside them', async () => {
    const terminal = fakeTerminal();
    expect(
      await run(
        [reply('done', { dataName: 'u.json' }), { type: 'data', chunk: '[\n{}' }, reply('unreachable', { parts: errorParts }), end],
        terminal,
        json,
      ),
    ).toBe(4);
    expect(terminal.stdout.text()).toBe('[\n{}');
    expect(terminal.stderr.text()).toBe('error: it broke (internal.bug)\nhint: mend it\n');
  });

  test('prints one JSON document, of a change, a failure, a dry run and a list that failed in part', async () => {
    const document = async (message: ShellMessage): Promise<unknown> => {
      const terminal = fakeTerminal();
      await run([message, end], terminal, json);
      expect(terminal.stderr.text()).toBe('');
      return JSON.parse(terminal.stdout.text());
    };
    expect(await document(reply('done', { command: 'user create', jobId: 'j1', result: { userId: '@a:b' } }))).toEqual({
      command: 'user create',
      outcome: 'done',
      job_id: 'j1',
      error_id: null,
      result: { userId: '@a:b' },
    });
    expect(await document(reply('refused', { command: 'user create', errorId: 'user.exists', parts: errorParts }))).toEqual({
      command: 'user create',
      outcome: 'refused',
      job_id: null,
      error_id: 'user.exists',
      message: 'it broke (internal.bug)',
      hint: 'mend it',
    });
    expect(await document(reply('done', { command: 'user create' }))).toEqual({
      command: 'user create',
      outcome: 'done',
      job_id: null,
      error_id: null,
      result: null,
      message: 'an answer',
    });
    expect(await document(reply('failed', { jobId: 'j2', errorId: 'user.not-found', result: [{ userId: '@a:b' }, null] }))).toEqual({
      command: 'user list',
      outcome: 'failed',
      job_id: 'j2',
      error_id: 'user.not-found',
      message: 'an answer',
      hint: null,
      result: [{ userId: '@a:b' }, null],
    });
    const terminal = fakeTerminal();
    await showFailure(new Failure('config.not-found', { reason: 'nowhere', hint: 'write one' }), terminal, json);
    expect(JSON.parse(terminal.stdout.text())).toEqual({
      command: null,
      outcome: 'usage',
      job_id: null,
      error_id: 'config.not-found',
      message: 'nowhere (config.not-found)',
      hint: 'write one',
    });
  });

  test('ends quietly when nobody reads its output any more', async () => {
    let written = 0;
    const closed = new Writable({
      write: (_chunk, _encoding, done) => {
        written += 1;
        done(written < 3 ? null : Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
      },
    });
    const session = new FakeSession(function* () {
      yield reply('done', { dataName: 'users.csv' });
      for (;;) yield { type: 'data', chunk: 'x' };
    });
    const terminal = { ...fakeTerminal(), stdout: openOutput(closed) };
    expect(await runCommand(session, request('user', 'list'), terminal, plain)).toBe(0);
    expect(session.returned).toBe(true);
    expect(terminal.stderr.text()).toBe('');
  });

  test('fails when the disk is full', async () => {
    const full = new Writable({
      write: (_chunk, _encoding, done) => {
        done(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }));
      },
    });
    await expect(
      runCommand(new FakeSession(() => [reply('done'), end]), request('help'), { ...fakeTerminal(), stdout: openOutput(full) }, plain),
    ).rejects.toMatchObject({ id: 'store.unwritable', exit: 1 });
  });

  test('waits for a slow reader', async () => {
    const waiting: (() => void)[] = [];
    const slow = new Writable({
      highWaterMark: 1,
      write: (_chunk, _encoding, done) => {
        waiting.push(done);
      },
    });
    let made = 0;
    const session = new FakeSession(function* () {
      yield reply('done', { dataName: 'users.csv' });
      for (; made < 100; made += 1) yield { type: 'data', chunk: 'x' };
      yield end;
    });
    const ended = runCommand(session, request('user', 'list'), { ...fakeTerminal(), stdout: openOutput(slow) }, plain);
    await until(() => waiting.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(made).toBe(0);
    while (made < 100) {
      await until(() => waiting.length > 0);
      waiting.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await ended).toBe(0);
  });
});

describe('a prompt', () => {
  /** A job that is done when confirmed and declined when not, as a real one. */
  function job(typeTarget: string | null): FakeSession {
    return new FakeSession(async function* (session) {
      yield prompt(typeTarget);
      await until(() => session.decisions.length > 0);
      yield session.decisions[0]?.[1] === true ? reply('done') : reply('refused', { parts: errorParts });
      yield end;
    });
  }

  test.each([
    [true, 0],
    [false, 3],
    [null, 3],
  ])('of yes or no that is answered %s ends with %i', async (answer, exit) => {
    const session = job(null);
    const terminal = fakeTerminal({ confirm: () => Promise.resolve(answer) });
    expect(await runCommand(session, request('user', 'logout', 'x'), terminal, plain)).toBe(exit);
    expect(session.decisions).toEqual([['job1', answer === true]]);
    expect(terminal.stderr.text()).toContain('Please confirm');
    expect(terminal.stdout.text()).not.toContain('Please confirm');
  });

  test.each([
    ['@bob:example.org', 0],
    [' @bob:example.org ', 0],
    ['@bob:example.com', 3],
    ['', 3],
    ['y', 3],
    [null, 3],
  ])('for the target that gets %j ends with %i', async (typed, exit) => {
    const session = job('@bob:example.org');
    expect(
      await runCommand(session, request('user', 'deactivate', 'bob'), fakeTerminal({ line: () => Promise.resolve(typed) }), plain),
    ).toBe(exit);
    expect(session.decisions).toEqual([['job1', exit === 0]]);
  });

  test.each([null, '@bob:example.org'])('without a terminal vetoes the job and is a mistake of usage', async (target) => {
    const session = job(target);
    await expect(runCommand(session, request('user', 'deactivate', 'bob'), fakeTerminal(), plain)).rejects.toMatchObject({
      id: 'usage.no-terminal',
      exit: 2,
    });
    expect(session.decisions).toEqual([['job1', false]]);
  });

  test('is taken away when the job ends before the answer', async () => {
    let signal: AbortSignal | undefined;
    const session = new FakeSession(async function* () {
      yield prompt();
      await until(() => signal !== undefined);
      yield reply('refused', { parts: errorParts });
      yield end;
    });
    const terminal = fakeTerminal({
      confirm: (_question, given) =>
        new Promise((resolve) => {
          signal = given;
          given.addEventListener('abort', () => {
            resolve(null);
          });
        }),
    });
    expect(await runCommand(session, request('user', 'logout', 'x'), terminal, plain)).toBe(3);
    expect(signal?.aborted).toBe(true);
    expect(session.decisions).toEqual([]);
  });

  test('whose yes comes too late leaves nothing waiting', async () => {
    const session = new FakeSession(async function* (asked) {
      yield prompt();
      await until(() => asked.decisions.length > 1);
      yield reply('refused', { parts: errorParts });
      yield end;
    });
    session.accepts = false;
    expect(await runCommand(session, request('user', 'logout', 'x'), fakeTerminal({ confirm: () => Promise.resolve(true) }), plain)).toBe(
      3,
    );
    expect(session.decisions).toEqual([
      ['job1', true],
      ['job1', false],
    ]);
  });
});
