const [quote, backslash, openObject, closeObject, openArray, closeArray] = Buffer.from('"\\{}[]');

/** Rows as they come, and at the end what stands around them, with no rows in it. */
export type PartOfPage = { rows: unknown[] } | { around: unknown };

/**
 * Reads `{"users": [{…}, {…}], "total": 2}` while it streams in: the objects of its first array come some at a time. No more
 * is held than a chunk and a row.
 *
 * @throws SyntaxError when it is not whole JSON of that form
 */
export async function* readRows(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<PartOfPage> {
  let around = '';
  let where: 'before' | 'rows' | 'after' = 'before';
  let left = Buffer.alloc(0);
  for await (const chunk of chunks) {
    left = Buffer.concat([left, chunk]);
    if (where === 'before' && left.includes('[')) {
      const start = left.indexOf('[') + 1;
      around = left.toString('utf8', 0, start);
      left = left.subarray(start);
      where = 'rows';
    }
    if (where === 'rows') {
      const { rowsEnd, arrayEnd } = findRows(left);
      const text = left.toString('utf8', 0, rowsEnd);
      if (rowsEnd > 0) yield { rows: JSON.parse(`[${text.slice(text.indexOf('{'))}]`) as unknown[] };
      left = left.subarray(arrayEnd ?? rowsEnd);
      if (arrayEnd !== null) where = 'after';
    }
  }
  yield { around: JSON.parse(around + left.toString()) as unknown };
}

/** Where in the inside of an array its last whole row ends, and where the array does, or null. */
function findRows(bytes: Uint8Array): { rowsEnd: number; arrayEnd: number | null } {
  let depth = 0;
  let rowsEnd = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === quote) {
      // Brackets in a string are text.
      for (at += 1; at < bytes.length && bytes[at] !== quote; at += 1) if (bytes[at] === backslash) at += 1;
    } else if (byte === openObject || byte === openArray) depth += 1;
    else if (byte === closeObject || byte === closeArray) {
      depth -= 1;
      if (depth < 0) return { rowsEnd, arrayEnd: at };
      if (depth === 0) rowsEnd = at + 1;
    }
  }
  return { rowsEnd, arrayEnd: null };
}
