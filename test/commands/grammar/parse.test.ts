import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { z } from 'zod';
import { allCommands } from '../../../src/commands/all.ts';
import { defineRead, type Command } from '../../../src/commands/define.ts';
import { parseLine, parseWords } from '../../../src/commands/grammar/parse.ts';
import { printLine, type ArgumentValue } from '../../../src/commands/grammar/print.ts';
import { Registry } from '../../../src/commands/registry.ts';

const registry = allCommands();
const parsed = (line: string): { name: string; args: unknown } => {
  const result = parseLine(registry, line);
  if (!result.ok) throw new Error(result.mistake.failure.message);
  return { name: result.parsed.command.name, args: result.parsed.args };
};
const mistaken = (line: string): { id: string; message: string; hint: string; excerpt: string | undefined } => {
  const result = parseLine(registry, line);
  if (result.ok) throw new Error('it parsed');
  const { failure, excerpt } = result.mistake;
  return { id: failure.id, message: failure.message, hint: failure.hint, excerpt };
};

describe('a command line', () => {
  test('is read with the flags and names of the scripts', () => {
    const expected = { user: 'alice', email: 'alice@example.org', displayName: 'Alice A', admin: true };
    expect(parsed('user create alice --email alice@example.org --display-name "Alice A" --admin').args).toEqual(expected);
    expect(parsed('create -u alice -e alice@example.org -d "Alice A" -a').args).toEqual(expected);
    expect(parsed('update-password -u alice -y')).toMatchObject({ name: 'user update-password' });
    expect(parsed('deactivate alice')).toMatchObject({ name: 'user deactivate' });
    expect(parsed('list --admins')).toMatchObject({ name: 'user list' });
  });

  test('may begin with the capital that a phone makes', () => {
    expect(parsed('User Create alice').name).toBe('user create');
  });

  test('takes a user as localpart, MXID or permalink', () => {
    for (const typed of [
      'alice',
      '@alice:example.org',
      'https://matrix.to/#/@alice:example.org',
      'https://matrix.to/#/%40alice%3Aexample.org?via=example.org',
    ]) {
      expect(parsed(`user info ${typed}`).args).toEqual({ user: typed === 'alice' ? 'alice' : '@alice:example.org' });
    }
  });

  test('never coerces a value', () => {
    expect(parsed('user list 1e5').args).toMatchObject({ name: '1e5' });
    expect(parsed('user list 0x10').args).toMatchObject({ name: '0x10' });
    expect(parsed('user create a.b --display-name 007').args).toMatchObject({ displayName: '007' });
  });

  test('after -- takes words with dashes as they are', () => {
    expect(parsed('user list -- --admins').args).toMatchObject({ name: '--admins', admins: false });
  });
});

describe('a mistake', () => {
  test.each([
    ['usr list', 'usage.unknown-command', /Did you mean `!user list`/],
    ['user lits', 'usage.unknown-command', /Did you mean `!user list`/],
    ['user', 'usage.incomplete-command', /help/],
    ['user create alice --emial a@b.org', 'usage.unknown-option', /Did you mean `--email`/],
    ['user create alice \u2014email a@b.org', 'usage.smart-dash', /two plain hyphens/],
    ['user create alice \u2013y', 'usage.smart-dash', /two plain hyphens/],
    ['user create alice bob', 'usage.extra-argument', /quotes/],
    ['user create', 'usage.missing-value', /user create alice/],
    ['user create alice --email', 'usage.missing-value', /./],
    ['user create alice --email --admin', 'usage.missing-value', /./],
    ['user create alice -e a@b.org --email c@d.org', 'usage.repeated-option', /once/],
    ['user create alice --admin=yes', 'usage.invalid-value', /./],
    ['user create alice --email nonsense', 'usage.invalid-value', /./],
    ['user create Alice', 'usage.invalid-value', /./],
    ['user create 123', 'usage.invalid-value', /./],
    ['user create _bridge', 'usage.invalid-value', /./],
    ['user create a?b', 'usage.invalid-value', /./],
    ['user create \u{1f600}', 'usage.invalid-value', /./],
    ['user list --inactive 180', 'usage.invalid-value', /./],
    ['user list --limit 1e3', 'usage.invalid-value', /./],
    ['user create "alice', 'usage.open-quote', /./],
    ['user create --no-admin alice', 'usage.unknown-option', /./],
    ['user create -uae alice', 'usage.unknown-option', /./],
    ['user create alice --__proto__.x=1', 'usage.unknown-option', /./],
  ])('%s is %s', (line, id, hint) => {
    expect(mistaken(line)).toMatchObject({ id });
    expect(mistaken(line).hint).toMatch(hint);
  });

  test('points at the word it is about', () => {
    expect(mistaken('user create alice --emial x').excerpt).toBe('!user create alice --emial x\n                   ^^^^^^^');
  });

  test('is shown on a line that fits a phone', () => {
    const { excerpt } = mistaken(`user create ${'a'.repeat(200)} --emial ${'b'.repeat(200)}`);
    expect(Math.max(...(excerpt ?? '').split('\n').map((line) => line.length))).toBeLessThanOrEqual(40);
  });

  test('in a line of 64 kB is told without reading it', () => {
    expect(mistaken(`user create ${'a'.repeat(65_536)}`)).toMatchObject({ id: 'usage.too-long' });
  });
});

describe('any line', () => {
  const words = fc.constantFrom(
    'user',
    'list',
    'create',
    'info',
    'help',
    '--email',
    '--admin',
    '-y',
    '--',
    '-',
    '\u2014x',
    '"',
    '\u201c',
    '@a:b.c',
    'alice',
    '=',
    '--limit=',
    '\\',
    '\0',
  );

  test('is a command or a mistake, never a crash', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary', maxLength: 200 }),
          fc.array(fc.oneof(words, fc.string())).map((parts) => parts.join(' ')),
        ),
        (line) => {
          const result = parseLine(registry, line);
          if (!result.ok) expect(result.mistake.failure.message).toContain(result.mistake.failure.id);
        },
      ),
      { numRuns: 3000 },
    );
  });

  test('of words from a shell likewise', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(words, fc.string({ unit: 'binary' })), { maxLength: 8 }), (given) => {
        parseWords(registry, given);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('parse, print, parse', () => {
  const sample: Command = defineRead({
    name: 'sample thing',
    summary: 'Everything an argument can be.',
    tier: 'read',
    lock: 'none',
    args: z.strictObject({
      first: z.string().meta({ positional: 0 }),
      second: z.string().optional().meta({ positional: 1 }),
      someText: z.string().optional().meta({ alias: 't' }),
      flag: z.boolean().default(false),
    }),
    result: z.object({}),
    examples: [],
    read: () => Promise.resolve({}),
    reply: () => [],
  });
  const samples = new Registry([sample]);

  test('gives the same command and arguments', () => {
    fc.assert(
      fc.property(
        fc.record({
          first: fc.string({ unit: 'binary', maxLength: 40 }),
          second: fc.option(fc.string({ unit: 'binary', maxLength: 40 }), { nil: undefined }),
          someText: fc.option(fc.string({ unit: 'binary', maxLength: 40 }), { nil: undefined }),
          flag: fc.boolean(),
        }),
        (args) => {
          const given = Object.fromEntries(Object.entries(args).filter(([, value]) => value !== undefined)) as Record<
            string,
            ArgumentValue
          >;
          const result = parseLine(samples, printLine({ command: sample, args: given }));
          expect(result).toMatchObject({ ok: true, parsed: { args: given } });
        },
      ),
      { numRuns: 2000 },
    );
  });
});

test('a word too many where a password is set is not said again', () => {
  const mistake = mistaken('user update-password alice Hunter2');
  expect(mistake).toMatchObject({ id: 'usage.extra-argument', excerpt: undefined });
  expect(JSON.stringify(mistake)).not.toContain('Hunter2');
});
