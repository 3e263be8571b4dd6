import { describe, expect, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { allCommands } from '../../src/commands/all.ts';
import { parseLine } from '../../src/commands/grammar/parse.ts';
import { ownOptions, sharedOptions } from '../../src/commands/grammar/options.ts';
import { Registry } from '../../src/commands/registry.ts';

const registry = allCommands();

describe.each(registry.commands.map((command) => [command.name, command] as const))('%s', (_name, command) => {
  test('has examples, and each of them parses to it', () => {
    expect(command.examples.length).toBeGreaterThan(0);
    for (const example of command.examples)
      expect(parseLine(registry, example)).toMatchObject({ ok: true, parsed: { command: { name: command.name } } });
  });

  test('describes every option, with letters that are its own', () => {
    const options = [...ownOptions(command), ...sharedOptions(command)];
    for (const option of options) expect(option.description).toMatch(/^[A-Z].*\.$/);
    const letters = [
      ...options.flatMap((option) => option.alias ?? []),
      ...Object.values(command.secrets ?? {}).map((secret) => secret.alias),
    ];
    expect(new Set(letters).size).toBe(letters.length);
    expect(new Set(options.map((option) => option.flag)).size).toBe(options.length);
  });

  test('sums itself up in a sentence', () => {
    expect(command.summary).toMatch(/^[A-Z].*\.$/);
  });

  test('is a read exactly when its tier says so', () => {
    expect(command.tier === 'read').toBe(command.kind !== 'write');
  });
});

describe('the registry', () => {
  test('holds every command that has a file', async () => {
    const folder = join(import.meta.dirname, '../../src/commands');
    const groups = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'grammar')
      .map((entry) => entry.name);
    const found: string[] = [];
    for (const group of groups) {
      for (const file of readdirSync(join(folder, group), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))) {
        const exported = (await import(join(folder, group, file))) as Record<string, unknown>;
        for (const value of Object.values(exported))
          if (typeof value === 'object' && value !== null && 'kind' in value && 'name' in value) found.push(String(value.name));
      }
    }
    expect(found.sort()).toEqual(
      registry.commands
        .map((command) => command.name)
        .filter((name) => name.includes(' '))
        .sort(),
    );
  });

  test('refuses two commands of one name', () => {
    const [first] = registry.commands;
    expect(() => new Registry(first === undefined ? [] : [first, first])).toThrow('two commands');
  });
});
