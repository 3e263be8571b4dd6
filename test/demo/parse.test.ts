import { describe, expect, test } from '@jest/globals';
import { parseScript, ScriptError } from '../../demo/script/parse.ts';

const read = (script: string) =>
  parseScript(script, 'x.script').map((statement) =>
    Object.fromEntries(Object.entries(statement).filter(([name]) => name !== 'line' && name !== 'text')),
  );
const mistakes = (script: string): string[] => {
  try {
    parseScript(script, 'x.script');
  } catch (error) {
    if (error instanceof ScriptError) return error.message.split('\n');
    throw error;
  }
  return [];
};

describe('what a script may hold', () => {
  test.each<[string, object]>([
    ['alice: !user list', { kind: 'say', who: 'alice', message: '!user list' }],
    ['  @bob :!help', { kind: 'say', who: 'bob', message: '!help' }],
    ['bob: react ✅', { kind: 'react', who: 'bob', key: '✅' }],
    ['bob: unreact ✅', { kind: 'unreact', who: 'bob', key: '✅' }],
    ['alice: edit !user info bob', { kind: 'edit', who: 'alice', message: '!user info bob' }],
    ['alice: reply yes, please', { kind: 'reply', who: 'alice', message: 'yes, please' }],
    ['alice: file users.txt !user create', { kind: 'file', who: 'alice', path: 'users.txt', message: '!user create' }],
    ['alice: file "my users.txt"', { kind: 'file', who: 'alice', path: 'my users.txt', message: '' }],
    ['steward: /done/', { kind: 'expect', pattern: { source: 'done', flags: '' }, withinMs: 15_000 }],
    ['steward: /code (?<code>\\S+)/is 30s', { kind: 'expect', pattern: { source: 'code (?<code>\\S+)', flags: 'is' }, withinMs: 30_000 }],
    ['steward:/https://a/b/ 2 m  # with slashes', { kind: 'expect', pattern: { source: 'https://a/b', flags: '' }, withinMs: 120_000 }],
    ['steward: /a # b/', { kind: 'expect', pattern: { source: 'a # b', flags: '' }, withinMs: 15_000 }],
    ['never: /password: \\S/', { kind: 'never', pattern: { source: 'password: \\S', flags: '' } }],
    ['wait 2s', { kind: 'wait', ms: 2000 }],
    ['wait 250ms # a moment', { kind: 'wait', ms: 250 }],
    ['stop steward', { kind: 'stop' }],
    ['kill steward', { kind: 'kill' }],
    ['start steward', { kind: 'start' }],
    ['shell: user list', { kind: 'shell', command: 'user list', input: '', exit: 0 }],
    ['shell(3): user deactivate bob', { kind: 'shell', command: 'user deactivate bob', input: '', exit: 3 }],
    ['run: test -e "$DEMO_DIR"', { kind: 'run', command: 'test -e "$DEMO_DIR"', input: '', exit: 0 }],
  ])('%s', (line, action) => {
    expect(read(line)).toEqual([action]);
  });

  test('comments and empty lines are passed over, and lines keep their numbers', () => {
    expect(parseScript('# a\n\nwait 1s\r\n  # b\nwait 2s', 'x').map(({ line, text }) => [line, text])).toEqual([
      [3, 'wait 1s'],
      [5, 'wait 2s'],
    ]);
  });

  test('more lines belong to a message as they are', () => {
    expect(read('alice: !user create <<END\n```\n  henry\n# iris\n```\nEND\nwait 1s')).toEqual([
      { kind: 'say', who: 'alice', message: '!user create\n```\n  henry\n# iris\n```' },
      { kind: 'wait', ms: 1000 },
    ]);
    expect(read('alice: <<X\na\nb\nX')).toEqual([{ kind: 'say', who: 'alice', message: 'a\nb' }]);
  });

  test("more lines are a program's input", () => {
    expect(read('shell: user create a --password-stdin <<END\nsecret\nEND')).toMatchObject([
      { command: 'user create a --password-stdin', input: 'secret\n' },
    ]);
    expect(read("run: cat > x <<'END'\n$HOME\nEND")).toMatchObject([{ command: "cat > x <<'END'\n$HOME\nEND" }]);
    expect(read('run: <<END\ncd /\npwd\nEND')).toMatchObject([{ command: 'cd /\npwd' }]);
  });
});

describe('mistakes name file, line and what was expected', () => {
  test.each<[string, RegExp]>([
    ['!user list', /^x\.script:1: expected `NAME: …`.*; found !user list$/],
    ['alice:', /expected a text after `alice:`; found nothing$/],
    ['alice: react', /expected an emoji after `react`/],
    ['alice: file', /expected a path after `file`/],
    ['steward: done', /expected `\/regex\/`.*; found done$/],
    ['steward: /done', /expected `\/regex\/`/],
    ['steward: /(/', /expected a regular expression of JavaScript; found \/\(\//],
    ['steward: /a/ soon', /expected `\/regex\/`/],
    ['steward: /a/ 3 weeks', /expected a time such as `2s`.*; found 3 weeks$/],
    ['never: /a/ 3s', /expected no time after `never: \/regex\/`.*; found 3s$/],
    ['wait long', /expected a time such as `2s`.*; found long$/],
    ['restart steward', /expected `NAME: …`/],
    ['bob(2): !help', /expected an exit code after `shell` or `run` only/],
    ['shell:', /expected a command after `shell:`/],
    ['alice: !help <<END\nmore', /expected a line END after <<END; found the end of the file$/],
  ])('%s', (script, message) => {
    expect(mistakes(script)).toEqual([expect.stringMatching(message)]);
  });

  test('all at once', () => {
    expect(mistakes('foo\nwait 1s\nalice:\n').map((mistake) => mistake.slice(0, 11))).toEqual(['x.script:1:', 'x.script:3:']);
  });
});
