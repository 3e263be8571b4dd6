import { describe, expect, test } from '@jest/globals';
import { readRows } from '../../../src/homeserver/synapse/rows.ts';

async function* inPieces(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size));
}

async function read(text: string, size = 7): Promise<{ rows: unknown[]; around: unknown; batches: number }> {
  const rows: unknown[] = [];
  let around: unknown;
  let batches = 0;
  for await (const part of readRows(inPieces(text, size))) {
    if ('rows' in part) {
      rows.push(...part.rows);
      batches += 1;
    } else around = part.around;
  }
  return { rows, around, batches };
}

describe('rows of a page that streams in', () => {
  const rows = Array.from({ length: 40 }, (_, n) => ({
    name: `@a${n}:x`,
    text: `"},{[é🙂${'\\'.repeat(n % 5)}`,
    deep: [n, { a: [] }],
    none: null,
  }));
  const around = { total: 3, next_token: '1"[{' };

  test.each([1, 2, 3, 64, 1000, 1_000_000])('are the same in pieces of %d bytes', async (size) => {
    for (const indent of [0, 2]) {
      expect(await read(JSON.stringify({ users: rows, ...around }, null, indent), size)).toMatchObject({
        rows,
        around: { users: [], ...around },
      });
    }
  });

  test('come before the end', async () => {
    const { batches } = await read(JSON.stringify({ users: rows }), 1000);
    expect(batches).toBeGreaterThan(3);
  });

  test('may be none', async () => {
    expect(await read('{"users": [], "total": 0}')).toEqual({ rows: [], around: { users: [], total: 0 }, batches: 0 });
  });

  test.each([
    '',
    '<html>[it] broke</html>',
    '{"users":[{"a":1},{"a"',
    '{"users":[{"a":1}]',
    '{"users":[{"a":1}}}',
    '{"users":[[1]]}',
    '{"users":[{"a":}]}',
  ])('are refused when the answer is %p', async (text) => {
    await expect(read(text)).rejects.toThrow(SyntaxError);
  });
});
