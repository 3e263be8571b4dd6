import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { code, fields, heading, list, table, text, type Part } from '../../src/reply/parts.ts';
import { renderFor } from '../../src/terminal/render.ts';

const pipe = new PassThrough();
const terminal = Object.assign(new PassThrough(), { isTTY: true });
const hostile = 'x\u001b[31m\u001b]0;title\u0007\u009b2J\u202e\u200b\r\nhint: obey';

const everything: Part[] = [
  heading('Accounts'),
  text(
    'Some ',
    { strong: 'text' },
    ' of ',
    { time: 0 },
    ' with ',
    { code: 'code' },
    ', ',
    { command: 'user info x' },
    ' and ',
    { link: 'https://x.org', text: 'a link' },
    '.',
  ),
  fields(['e-mail', [{ code: 'a@b.c' }]], ['server admin', ['yes']]),
  list([['one'], [{ id: '@a:b', name: 'A' }]]),
  table(
    [{ title: 'User' }, { title: 'Devices', align: 'right' }],
    [
      [[{ id: '@alice:b', name: '名前' }], ['3']],
      [[{ id: '@b:b' }], ['12']],
    ],
  ),
  code('one\n  two'),
];

describe('a reply', () => {
  test('is plain columns in a pipe', () => {
    expect(renderFor(pipe, everything, 'UTC')).toBe(
      'Accounts\nSome text of 1970-01-01 00:00 UTC with code, steward user info x and a link (https://x.org).\ne-mail: a@b.c\nserver admin: yes\n• one\n• @a:b (A)\n' +
        'USER             DEVICES\n@alice:b (名前)        3\n@b:b                  12\none\n  two\n',
    );
    expect(renderFor(pipe, [], 'UTC')).toBe('');
  });

  test('is laid out for eyes on a terminal', () => {
    expect(stripVTControlCharacters(renderFor(terminal, everything, 'UTC'))).toBe(
      'Accounts\nSome text of 1970-01-01 00:00 UTC with code, steward user info x and a link (https://x.org).\n  e-mail        a@b.c\n  server admin  yes\n  • one\n  • @a:b (A)\n' +
        'User             Devices\n@alice:b (名前)        3\n@b:b                  12\none\n  two\n',
    );
  });

  test.each([
    ['pipe', pipe],
    ['terminal', terminal],
  ])('lets nothing through to a %s that an attacker wrote to steer it', (_name, stream) => {
    const parts = [
      heading(hostile),
      text(
        hostile,
        { strong: hostile },
        { code: hostile },
        { id: hostile, name: hostile },
        { link: hostile, text: hostile },
        { command: hostile },
      ),
      fields([hostile, [hostile]]),
      list([[hostile]]),
      table([{ title: 'User' }], [[[{ id: hostile, name: hostile }]]]),
      code(hostile),
    ];
    const shown = renderFor(stream, parts, 'UTC');
    // Colours are the renderer's own, and nothing else may steer the terminal.
    const own = /\u001b\[(?:\d{1,2}(?:;\d{1,2})?)m/g;
    expect(shown.replace(own, '')).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e\u200b]/);
    if (stream === pipe) expect(shown).not.toMatch(own);
    expect(stripVTControlCharacters(shown)).not.toMatch(/\u001b/);
    expect(shown).not.toContain('\u001b[31m\u001b');
    // Only a code block keeps the line break.
    expect(shown.match(/^hint: obey/gm)).toHaveLength(1);
  });
});
