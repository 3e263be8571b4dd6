import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/load.ts';
import { formatMistakes } from '../../src/config/mistake.ts';
import { allKeys, findKey } from '../../src/config/outline.ts';
import { renderSample, renderValues } from '../../src/config/sample.ts';
import { folderWith } from './folder.ts';

const secrets = Object.fromEntries(
  allKeys()
    .filter(({ secretFile }) => secretFile)
    .map(({ example }) => [String(example), 'a']),
);

const sample = renderSample();
/** All of the sample uncommented, but for one of the two kinds of a destination. */
const uncommented = {
  'a bucket': withoutComments(sample.replace(/^ *#directory: .*\n/m, '')),
  'a folder': withoutComments(sample.replace(/^( *)#s3:\n(?:\1 .*\n)*/m, '')),
};

function withoutComments(text: string): string {
  return text.replaceAll(/^( *)#(?=\S)/gm, '$1');
}

function load(text: string): ReturnType<typeof loadConfig> {
  return loadConfig(join(folderWith({ ...secrets, 'a.yaml': text }), 'a.yaml'), {});
}

test('the sample changes nothing as it is', () => {
  expect(loadConfig(join(folderWith({ 'a.yaml': sample }), 'a.yaml'), {}).ok).toBe(true);
});

test.each(Object.entries(uncommented))('the sample is valid when all of it is uncommented, where the destination is %s', (_, text) => {
  const loaded = load(text);
  expect(loaded.ok ? '' : formatMistakes(loaded.mistakes)).toBe('');
});

test('the sample holds every key', () => {
  const written = Object.values(uncommented).map((text) => {
    const loaded = load(text);
    return JSON.stringify('written' in loaded ? loaded.written : {});
  });
  for (const key of allKeys().filter(({ kind }) => kind === 'value')) expect(written.join()).toContain(`"${key.path.at(-1)}"`);
});

test('every key has a description', () => {
  expect(
    allKeys()
      .filter((key) => key.description === '' && key.path.at(-1) !== '*')
      .map((key) => key.path.join('.')),
  ).toEqual([]);
  expect(findKey(['people', 'alice', 'roles'])?.path).toEqual(['people', '*', 'roles']);
});

test('given values are live, explained, and nothing else is written', () => {
  const text = renderValues({ homeserver: { url: 'http://x' }, people: { 'a b': { user_ids: ['@a:b'] }, c: { user_ids: [] } } });
  expect(text).toContain('homeserver:\n  # Address of');
  expect(text).toContain('\n  a b:\n');
  expect(text).toContain('    user_ids: [ "@a:b" ]');
  expect(text.match(/# All Matrix accounts/g)).toHaveLength(1);
  expect(text).not.toMatch(/^ *#\S/m);
  expect(text).not.toContain('time_zone');
});
