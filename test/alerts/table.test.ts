import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { alertTable, pageOf, type AlertId } from '../../src/alerts/table.ts';
import { lineNames } from '../../src/doctor/line.ts';

const operations = readFileSync(join(import.meta.dirname, '../../docs/operations.md'), 'utf8');

/** As GitHub makes an anchor of a heading. */
const anchors = [...operations.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-'),
);

test.each(Object.keys(alertTable) as AlertId[])('%s has a page', (id) => {
  expect(anchors).toContain(pageOf(id).split('#')[1]);
});

test('no page is of an alert that there is not', () => {
  const pages = [...operations.matchAll(/^#+ Alert (\S+)$/gm)].map(([, id]) => id);
  expect(pages.sort()).toEqual(Object.keys(alertTable).sort());
});

test.each(Object.entries(alertTable))('%s is told in one line, with what to do', (_, { title, next }) => {
  expect(title).toMatch(/[^.]$/);
  expect(next).toMatch(/[.?]$/);
});

test('every line of the doctor has an alert', () => {
  expect(Object.keys(alertTable)).toEqual(expect.arrayContaining(lineNames.map((name) => `doctor.${name}`)));
});
