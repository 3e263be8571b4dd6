import { describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../../src/failures/failure.ts';
import { failureTable, type FailureId } from '../../src/failures/table.ts';

const folder = join(import.meta.dirname, '../../src');
const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && path !== 'failures/table.ts')
  .map((path) => readFileSync(join(folder, path), 'utf8'))
  .join('\n');

describe.each(Object.entries(failureTable))('%s', (id, record) => {
  test('happens somewhere', () => {
    expect(sources).toContain(`'${id}'`);
  });

  test('is told in a sentence, with a hint in another', () => {
    expect(record.summary).toMatch(/^[A-Z].*\.$/);
    expect(record.hint).toMatch(/^[A-Z`].*[.?]$/);
  });

  test('reads as the error grammar has it', () => {
    const failure = new Failure(id as FailureId, { attempted: 'create @a:x' });
    expect(failure.message).toMatch(new RegExp(`^cannot create @a:x: .*[^.] \\(${id.replace('.', '[.]')}\\)$`));
  });
});
