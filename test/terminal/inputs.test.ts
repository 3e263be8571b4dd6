import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { readItems, readSecrets } from '../../src/terminal/inputs.ts';
import type { Prompts } from '../../src/terminal/prompts.ts';
import type { SecretSource } from '../../src/terminal/words.ts';
import { folder, noPrompts } from './support.ts';

const nothing = Readable.from([]);

function file(content: string | Buffer, mode = 0o600): string {
  const path = join(folder(), 'file');
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe('a list of items', () => {
  test('is the lines that are not blank, of a file or of standard input', async () => {
    expect(await readItems(file('\ufeffalice\r\n\n  bob --email b@x \n\t\ncarol'), nothing)).toEqual(['alice', 'bob --email b@x', 'carol']);
    expect(await readItems('-', Readable.from([Buffer.from('ali'), Buffer.from('ce\nb\n')]))).toEqual(['alice', 'b']);
    expect(await readItems(file(''), nothing)).toEqual([]);
  });

  test('has at most 1 MB and 10 000 lines, also where its end never comes', async () => {
    expect(await readItems(file('a\n'.repeat(10_000)), nothing)).toHaveLength(10_000);
    await expect(readItems(file('a\n'.repeat(10_001)), nothing)).rejects.toMatchObject({ id: 'usage.input-too-large', exit: 2 });
    expect(await readItems(file('a'.repeat(1_000_000)), nothing)).toHaveLength(1);
    await expect(readItems(file('a'.repeat(1_000_001)), nothing)).rejects.toMatchObject({ id: 'usage.input-too-large' });
    const endless = Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(65_536, 'x');
      })(),
    );
    await expect(readItems('-', endless)).rejects.toMatchObject({ id: 'usage.input-too-large' });
  });

  test('that cannot be read is told', async () => {
    await expect(readItems('/nonexistent/list', nothing)).rejects.toMatchObject({
      id: 'usage.input-unreadable',
      message: expect.stringContaining('/nonexistent/list'),
    });
    await expect(readItems(folder(), nothing)).rejects.toMatchObject({ id: 'usage.input-unreadable' });
    await expect(readItems(file(Buffer.from([0xff, 0xfe, 0x41])), nothing)).rejects.toMatchObject({ id: 'usage.input-unreadable' });
  });
});

describe('a secret argument', () => {
  const read = (
    source: SecretSource,
    stdin: Readable = nothing,
    prompts: Prompts = noPrompts,
    warn: (text: string) => void = () => undefined,
  ) => readSecrets(new Map([['password', source]]), stdin, prompts, warn);
  const typing = (...typed: (string | null)[]): Prompts => ({
    ...noPrompts,
    available: true,
    secret: () => Promise.resolve(typed.shift() ?? null),
  });

  test('comes from a file or standard input, without the line break at the end', async () => {
    expect(await read({ from: 'file', path: file('geheim \n') })).toEqual({ password: 'geheim ' });
    expect(await read({ from: 'stdin' }, Readable.from([Buffer.from('ge'), Buffer.from('heim\r\n')]))).toEqual({ password: 'geheim' });
  });

  test('in a file that others may read is taken with a warning', async () => {
    const warnings: string[] = [];
    const warn = (text: string): void => {
      warnings.push(text);
    };
    await read({ from: 'file', path: file('x') }, nothing, noPrompts, warn);
    expect(warnings).toEqual([]);
    const path = file('x', 0o640);
    expect(await read({ from: 'file', path }, nothing, noPrompts, warn)).toEqual({ password: 'x' });
    expect(warnings).toEqual([expect.stringContaining(path)]);
  });

  test('that is empty, of several lines or too long is refused, and not repeated', async () => {
    for (const content of ['', '\n', 'geheim\nmore', 'ge\0heim']) {
      const error: unknown = await read({ from: 'file', path: file(content) }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ id: 'usage.invalid-value' });
      expect((error as Error).message).not.toContain('geheim');
    }
    await expect(read({ from: 'file', path: '/dev/zero' })).rejects.toMatchObject({ id: 'usage.input-unreadable' });
  });

  test('is typed twice', async () => {
    expect(await read({ from: 'prompt' }, nothing, typing('geheim', 'geheim'))).toEqual({ password: 'geheim' });
    await expect(read({ from: 'prompt' }, nothing, typing('geheim', 'gehiem'))).rejects.toMatchObject({
      id: 'usage.invalid-value',
      message: expect.not.stringContaining('geh'),
    });
    await expect(read({ from: 'prompt' }, nothing, typing('geheim', null))).rejects.toMatchObject({ id: 'access.declined' });
    await expect(read({ from: 'prompt' })).rejects.toMatchObject({
      id: 'usage.no-terminal',
      hint: expect.stringContaining('--password-stdin'),
    });
  });
});
