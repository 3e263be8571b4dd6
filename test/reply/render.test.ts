import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { renderHtml } from '../../src/matrix/html.ts';
import { code, fields, heading, list, table, text, type Part } from '../../src/reply/parts.ts';
import { renderPlain, type TextOptions } from '../../src/reply/plain.ts';
import { visible, visibleName } from '../../src/reply/visible.ts';

const room: TextOptions = { timeZone: 'Europe/Berlin', prefix: '!', wide: false };
const desk: TextOptions = { ...room, wide: true };
const parts: Part[] = [
  text({ strong: 'Accounts' }, ': 2, ', { time: Date.UTC(2026, 10, 22, 20, 5) }),
  heading('user'),
  fields(['state', ['active']], ['e-mail', undefined], ['undo', [{ command: 'user deactivate @a:x' }]]),
  list([[{ id: '@a:x', name: 'Ann <b>' }], [{ link: 'https://example.org/?a&b', text: 'a link' }]]),
  table(
    [{ title: 'User' }, { title: 'Rooms', align: 'right' }],
    [
      [[{ id: '@a:x' }], ['7']],
      [[{ id: '@bob:x' }], ['']],
    ],
  ),
  code('!usr\n ^^^'),
];

describe('one reply, in every form', () => {
  test('as the plain body of a message', () => {
    expect(renderPlain(parts, room)).toBe(
      [
        'Accounts: 2, 2026-11-22 21:05 CET',
        '',
        'user',
        'state: active',
        'undo: !user deactivate @a:x',
        '• @a:x (Ann <b>)',
        '• a link (https://example.org/?a&b)',
        '• @a:x · 7',
        '• @bob:x',
        '!usr',
        ' ^^^',
      ].join('\n'),
    );
  });

  test('as the HTML that a phone shows', () => {
    expect(renderHtml(parts, room)).toBe(
      '<p><b>Accounts</b>: 2, 2026-11-22 21:05 CET</p><p><b>user</b></p><p><b>state:</b> active<br><b>undo:</b> <code>!user deactivate @a:x</code></p>' +
        '<ul><li><code>@a:x</code> (Ann &lt;b&gt;)</li><li><a href="https://example.org/?a&amp;b">a link</a></li></ul>' +
        '<ul><li><code>@a:x</code> · 7</li><li><code>@bob:x</code></li></ul><pre><code>!usr\n ^^^</code></pre>',
    );
  });

  test('as columns for a desk and a pipe', () => {
    expect(renderPlain([parts[4] as Part], desk)).toBe('USER    ROOMS\n@a:x        7\n@bob:x');
    expect(renderHtml([parts[4] as Part], desk)).toContain('<table><thead><tr><th>User</th><th>Rooms</th></tr></thead>');
  });

  test('in the summer the zone is another', () => {
    expect(renderPlain([text({ time: Date.UTC(2026, 6, 1, 12, 0) })], room)).toBe('2026-07-01 14:00 CEST');
  });
});

describe('what an attacker calls himself', () => {
  const hostile = 'x\u0000\u202e\u200b</mx-reply><img src=x onerror=1>\n@room\ud800"\'&';

  test('is on one line, without what does not show, and escaped', () => {
    expect(visible(hostile)).toBe('x</mx-reply><img src=x onerror=1> @room\ufffd"\'&');
    const html = renderHtml([text({ id: '@evil:x', name: hostile })], room);
    expect(html).toBe('<p><code>@evil:x</code> (x&lt;/mx-reply&gt;&lt;img src=x onerror=1&gt; @room\ufffd&quot;&#39;&amp;)</p>');
  });

  test('is cut at 64 characters, and a family of emoji is one', () => {
    expect(visibleName('a'.repeat(300))).toBe(`${'a'.repeat(63)}…`);
    expect(visibleName('\u{1f600}'.repeat(64))).toBe('\u{1f600}'.repeat(64));
  });

  test('is no link but to https', () => {
    expect(renderHtml([text({ link: 'javascript:alert(1)', text: 'here' })], room)).toBe('<p>here</p>');
  });

  test('never opens a tag, whatever it is and wherever it stands', () => {
    const anything = fc.string({ unit: 'binary', maxLength: 60 });
    fc.assert(
      fc.property(anything, anything, (name, id) => {
        const html = renderHtml(
          [text(name, { id, name }, { strong: name }, { code: id }), heading(name), fields([name, [id]]), list([[name]]), code(name)],
          room,
        );
        const tags = html.replace(/<\/?(?:p|b|code|pre|ul|li|br)>/g, '');
        expect(tags).not.toMatch(/[<>]/);
        expect(html).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u202a-\u202e\u2066-\u2069\u200b]/);
      }),
      { numRuns: 1000 },
    );
  });
});
