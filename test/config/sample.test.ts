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

test('the sample changes nothing as it is, and is valid when all of it is uncommented', () => {
  const sample = renderSample();
  expect(loadConfig(join(folderWith({ 'a.yaml': sample }), 'a.yaml'), {}).ok).toBe(true);
  const loaded = loadConfig(join(folderWith({ ...secrets, 'a.yaml': sample.replaceAll(/^( *)#(?=\S)/gm, '$1') }), 'a.yaml'), {});
  expect(loaded.ok ? '' : formatMistakes(loaded.mistakes)).toBe('');
});

test('the sample holds every key', () => {
  const { ok, ...rest } = loadConfig(
    join(folderWith({ ...secrets, 'a.yaml': renderSample().replaceAll(/^( *)#(?=\S)/gm, '$1') }), 'a.yaml'),
    {},
  );
  expect(ok).toBe(true);
  const written = JSON.stringify('written' in rest ? rest.written : {});
  for (const key of allKeys().filter(({ kind }) => kind === 'value')) expect(written).toContain(`"${key.path.at(-1)}"`);
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
