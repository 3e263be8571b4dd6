import { PassThrough } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { systemClock, type Clock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { Failure } from '../../src/failures/failure.ts';
import { allowList, type LogFields } from '../../src/telemetry/fields.ts';
import { createLog, type Log, type LogLevel } from '../../src/telemetry/log.ts';

const clock: Clock = { ...systemClock, now: () => Date.UTC(2026, 10, 22, 2, 15, 0) };

function lines(format: 'json' | 'human', use: (log: Log) => void, level: LogLevel = 'info'): string[] {
  const stream = new PassThrough();
  use(createLog({ level, format, clock, stream }));
  const text = (stream.read() as Buffer | null)?.toString() ?? '';
  return text === '' ? [] : text.trimEnd().split('\n');
}

describe('the log', () => {
  test('writes one JSON object a line, with the fields of its parents', () => {
    const [line] = lines('json', (log) => log.child({ job_id: 'j1' }).info('a command ended', { command: 'user list', duration_ms: 12 }));
    expect(JSON.parse(line ?? '')).toEqual({
      at: '2026-11-22T02:15:00.000Z',
      level: 'info',
      message: 'a command ended',
      job_id: 'j1',
      command: 'user list',
      duration_ms: 12,
    });
  });

  test('writes for people', () => {
    expect(lines('human', (log) => log.warn('no answer', { endpoint: '/sync', attempt: 2, reason: 'timed out\nforged line' }))).toEqual([
      String.raw`02:15:00 warn  no answer endpoint=/sync attempt=2 reason="timed out\nforged line"`,
    ]);
  });

  test('keeps to its level', () => {
    expect(
      lines(
        'json',
        (log) => {
          log.info('no');
          log.warn('yes');
          log.debug('no');
        },
        'warn',
      ),
    ).toHaveLength(1);
  });
});

describe('what a line may hold', () => {
  test('allowed names with scalar values only', () => {
    const fields = {
      user_id: '@a:b',
      password: 'hidden',
      body: { a: 1 },
      count: [1],
      status: 200,
      ok: true,
      errcode: null,
      reason: undefined,
    };
    expect(allowList(fields)).toEqual({ user_id: '@a:b', status: 200, ok: true, errcode: null });
  });

  test('a path without its query, no token, no Secret, no endless text', () => {
    expect(allowList({ path: '/sync?access_token=hidden#x' })).toEqual({ path: '/sync' });
    expect(allowList({ reason: 'Bearer abc.def and syt_YWxpY2U_abc mct_x http://u:hidden@h/' })).toEqual({
      reason: '«secret» and «secret» «secret» http://«secret»h/',
    });
    expect(allowList({ reason: new Secret('hidden') })).toEqual({ reason: '«secret»' });
    expect(String(allowList({ reason: 'x'.repeat(5000) })['reason'])).toHaveLength(501);
  });

  test('of a Failure: id, attempt, reason', () => {
    const failure = new Failure('homeserver.refused', { attempted: 'create @a:b', reason: 'it said no', cause: new TypeError('hidden') });
    const reduced = allowList({ error: failure });
    expect(reduced).toMatchObject({ failure: 'homeserver.refused', attempted: 'create @a:b', reason: 'it said no', cause: 'TypeError' });
    expect(JSON.stringify(reduced)).not.toContain('hidden');
  });

  test('of another error: class, code and frames, never its message', () => {
    const thrown: unknown[] = [
      new Error('hidden'),
      new Error('first\n    at hidden (file:///hidden.ts:1:1)'),
      Object.assign(new Error('hidden'), { code: 'ECONNREFUSED', response: { headers: { authorization: 'hidden' } }, body: 'hidden' }),
      Object.assign(new TypeError('x', { cause: new Error('hidden') }), { errcode: 'hidden words' }),
      'hidden',
      { message: 'hidden' },
    ];
    try {
      JSON.parse('{"password": hidden}');
    } catch (error) {
      thrown.push(error);
    }
    for (const error of thrown) expect(JSON.stringify(allowList({ error }))).not.toContain('hidden');
    expect(allowList({ error: thrown[2] })).toMatchObject({
      error: 'Error ECONNREFUSED',
      stack: expect.stringMatching(/^at .*log\.test\.ts:\d+:\d+/),
    });
    expect(allowList({ error: thrown.at(-1) })).toMatchObject({ error: 'SyntaxError' });
  });

  test('of an error whose message is safe: the message too', () => {
    expect(allowList({ error: new ReferenceError('x is not defined') })).toMatchObject({ error: 'ReferenceError: x is not defined' });
  });
});

test('a name that is not allowed does not compile', () => {
  // @ts-expect-error password is not a field
  const fields: LogFields = { password: 'x' };
  expect(allowList(fields)).toEqual({});
});
