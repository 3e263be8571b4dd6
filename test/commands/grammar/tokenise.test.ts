import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { quote, tokenise } from '../../../src/commands/grammar/tokenise.ts';

const values = (line: string): unknown => {
  const tokens = tokenise(line);
  return Array.isArray(tokens) ? tokens.map((token) => token.value) : tokens;
};

describe('tokenise', () => {
  test('splits at any white space, also what phones and keyboards put between words', () => {
    expect(values('user\tcreate\u00a0alice  \u3000-y\n')).toEqual(['user', 'create', 'alice', '-y']);
  });

  test('takes the quotes of phones for quotes', () => {
    expect(values('a \u201cb c\u201d \u2018d e\u2019 \u201ef g\u201c "h i" \'j k\'')).toEqual(['a', 'b c', 'd e', 'f g', 'h i', 'j k']);
  });

  test('leaves an apostrophe inside a word alone', () => {
    expect(values("O'Brien O\u2019Brien")).toEqual(["O'Brien", 'O\u2019Brien']);
  });

  test('keeps a quote that is not followed by a space', () => {
    expect(values('"5"x tall" b')).toEqual(['5"x tall', 'b']);
  });

  test('reads a quoted value after --option=', () => {
    expect(values('--display-name="Alice A" -d=\u201cB C\u201d')).toEqual(['--display-name=Alice A', '-d=B C']);
  });

  test('an empty value in quotes is a word', () => {
    expect(values('a "" b')).toEqual(['a', '', 'b']);
  });

  test('names the stretch of an open quote', () => {
    expect(tokenise('user create "alice')).toEqual({ id: 'usage.open-quote', start: 12, end: 18 });
  });

  test('offsets point at the word with its quotes', () => {
    const line = 'user  create "a b"';
    const tokens = tokenise(line);
    expect(Array.isArray(tokens) && tokens.map(({ start, end }) => line.slice(start, end))).toEqual(['user', 'create', '"a b"']);
  });

  test('whatever is quoted is read back as it was', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('', '"', '\\', '\\"', "'", '\u201d', '-x', '\u2014y', 'a b', '\u00a0')),
          { maxLength: 6 },
        ),
        (words) => {
          expect(values(words.map(quote).join(' '))).toEqual(words);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
