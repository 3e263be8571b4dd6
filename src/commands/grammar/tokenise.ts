/** A word of a command line. `start` and `end` are offsets in UTF-16 units into the line, quotes included. */
export interface Token {
  value: string;
  start: number;
  end: number;
  /** Whether it was in quotes, so that a leading dash is meant literally. */
  quoted: boolean;
}

/** A mistake of the person, with the stretch of the line that it is about. */
export interface TokenMistake {
  id: 'usage.open-quote';
  start: number;
  end: number;
}

const doubles = '"\u201c\u201d\u201e\u201f\u00ab\u00bb';
const singles = "'\u2018\u2019\u201a\u201b";
const space = /\s/u;

/**
 * Splits a line into words. Quotes, also those that phones make of them, open only at the start of a word or after
 * `--option=`, and close only before a space, so that `O’Brien` is one word. A backslash makes a quote or a backslash literal.
 */
export function tokenise(line: string): Token[] | TokenMistake {
  const tokens: Token[] = [];
  let at = 0;
  while (at < line.length) {
    if (space.test(line.charAt(at))) {
      at += 1;
      continue;
    }
    const start = at;
    let value = '';
    const option = /^--?[a-z][a-z-]*=/u.exec(line.slice(at, at + 64))?.[0] ?? '';
    value += option;
    at += option.length;
    const closers = at < line.length ? closersOf(line.charAt(at)) : null;
    if (closers === null) {
      while (at < line.length && !space.test(line.charAt(at))) {
        if (escapes(line, at)) at += 1;
        value += line.charAt(at);
        at += 1;
      }
    } else {
      at += 1;
      while (at >= line.length || !closes(line, at, closers)) {
        if (at >= line.length) return { id: 'usage.open-quote', start, end: line.length };
        if (escapes(line, at)) at += 1;
        value += line.charAt(at);
        at += 1;
      }
      at += 1;
    }
    tokens.push({ value, start, end: at, quoted: closers !== null && option === '' });
  }
  return tokens;
}

function closersOf(opener: string): string | null {
  if (doubles.includes(opener)) return doubles;
  return singles.includes(opener) ? singles : null;
}

function closes(line: string, at: number, closers: string): boolean {
  return closers.includes(line.charAt(at)) && (at + 1 >= line.length || space.test(line.charAt(at + 1)));
}

/** Whether the character at `at` is a backslash before something that it makes literal. */
function escapes(line: string, at: number): boolean {
  const next = line.charAt(at + 1);
  return line.charAt(at) === '\\' && next !== '' && (next === '\\' || doubles.includes(next) || singles.includes(next));
}

/** A word as it must be typed to be read back as the same value. */
export function quote(value: string): string {
  const plain = value !== '' && !/[\s\\]/u.test(value) && closersOf(value.charAt(0)) === null && !/^[-\u2010-\u2015\u2212]/u.test(value);
  if (plain) return value;
  return `"${value.replace(/[\\"'\u201c\u201d\u201e\u201f\u00ab\u00bb\u2018\u2019\u201a\u201b]/gu, '\\$&')}"`;
}
