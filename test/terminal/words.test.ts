import { describe, expect, test } from '@jest/globals';
import { allCommands } from '../../src/commands/all.ts';
import { ownOptions } from '../../src/commands/grammar/options.ts';
import { readWords } from '../../src/terminal/words.ts';

const registry = allCommands();
const read = (line: string) => readWords(line.split(' '), registry);

describe('the words after steward', () => {
  test('are passed on as they are, without those that only the terminal knows', () => {
    expect(read('--config a.yaml user create alice --input - --json -e a@b.c')).toEqual({
      words: ['user', 'create', 'alice', '--json', '-e', 'a@b.c'],
      configPath: 'a.yaml',
      inputPath: '-',
      secrets: new Map(),
      json: true,
    });
    expect(read('user create --config=a=b --input=f --wide')).toMatchObject({
      words: ['user', 'create', '--wide'],
      configPath: 'a=b',
      inputPath: 'f',
      json: false,
    });
    expect(read('what -- --config x --json')).toMatchObject({
      words: ['what', '--', '--config', 'x', '--json'],
      configPath: undefined,
      json: false,
    });
  });

  test.each(['--config', 'help --config=', 'user create --input'])('need the file of %s', (line) => {
    expect(() => read(line)).toThrow(expect.objectContaining({ id: 'usage.missing-value' }));
  });

  test('say where a secret comes from', () => {
    const source = (line: string) => read(line).secrets.get('password');
    expect(source('user create alice -p')).toEqual({ from: 'prompt' });
    expect(source('user create --password --user alice')).toEqual({ from: 'prompt' });
    expect(source('user create alice --password-stdin')).toEqual({ from: 'stdin' });
    expect(source('user update-password -u alice --password-file p')).toEqual({ from: 'file', path: 'p' });
    expect(source('create -u alice --password-file=p')).toEqual({ from: 'file', path: 'p' });
    expect(read('user create alice --password-file p -a').words).toEqual(['user', 'create', 'alice', '-a']);
    expect(read('user create -p --admin -u alice').words).toEqual(['user', 'create', '--admin', '-u', 'alice']);
  });

  test.each([
    'user create alice --password=geheim',
    'user create alice --password geheim',
    'user create alice -p geheim',
    'user create alice -p=geheim',
    'user create alice -pgeheim',
    'user create -p alice',
    'create -u alice -p geheim',
    'update-password -p geheim --password-stdin',
  ])('refuse a secret among them: %s', (line) => {
    let thrown: unknown;
    try {
      read(line);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ id: 'usage.secret-in-command', exit: 2 });
    expect((thrown as Error).message).not.toMatch(/geheim|alice/);
  });

  test('give a secret once', () => {
    for (const line of [
      'user create a -p --password-stdin',
      'user create a -p -p',
      'user create a --password-file x --password-stdin',
      'user create a --config x --config y',
    ])
      expect(() => read(line)).toThrow(expect.objectContaining({ id: 'usage.repeated-option' }));
  });

  test('leave `-p` of commands without secrets to the grammar', () => {
    expect(read('user list -p x')).toMatchObject({ words: ['user', 'list', '-p', 'x'], secrets: new Map() });
  });

  test('belong to no command of the set', () => {
    for (const command of registry.commands) {
      const reserved = [
        'config',
        'input',
        ...Object.keys(command.secrets ?? {}).flatMap((name) => [name, `${name}-file`, `${name}-stdin`]),
      ];
      const aliases = Object.values(command.secrets ?? {}).map(({ alias }) => alias);
      for (const { flag, alias } of ownOptions(command)) {
        expect(reserved).not.toContain(flag);
        expect(aliases).not.toContain(alias);
      }
    }
  });
});
