import { expect, test } from '@jest/globals';
import { fail, ok } from '../../src/doctor/line.ts';
import { withPowers } from '../../src/doctor/powers.ts';
import type { Capability } from '../../src/stack/stack.ts';

const capabilities: Capability[] = [
  { name: 'dump', granted: true, missing: [], grant: [] },
  { name: 'restore', granted: false, missing: ['steward may not make databases'], grant: ['ALTER ROLE "steward" CREATEDB;'] },
  { name: 'control', granted: false, missing: ['no component is configured'], grant: ['stack: {}'] },
];

test('a line tells what is missing for it, with all that grants it', () => {
  expect(withPowers(ok('none is open'), capabilities, ['restore', 'control'])).toEqual({
    state: 'warn',
    detail: 'none is open; for restore: steward may not make databases; for control: no component is configured',
    fix: '`ALTER ROLE "steward" CREATEDB;` `stack: {}`',
  });
});

test('what another line needs, and what is worse already, stay as they are', () => {
  expect(withPowers(ok('proven'), capabilities, ['dump'])).toEqual(ok('proven'));
  const worse = fail('half-way', '`restore undo`');
  expect(withPowers(worse, capabilities, ['restore'])).toEqual(worse);
});
