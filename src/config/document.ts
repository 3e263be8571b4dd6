import { isCollection, isMap, isScalar, LineCounter, parseDocument, type Document, type ErrorCode, type Node, type YAMLError } from 'yaml';
import type { ConfigMistake } from './mistake.ts';

/** A parsed configuration file that still knows where each value stands. */
export interface ConfigDocument {
  tree: Record<string, unknown>;
  mistakes: ConfigMistake[];
  /** Whether the tree can be checked further: false when a mistake of YAML leaves open what belongs where. */
  usable: boolean;
  /** Where the value (or with `key`, the name) at a path stands; where it is missing, its nearest parent. 1-based. */
  placeOf(path: readonly PropertyKey[], of?: 'key' | 'value'): { source: string; line: number; column: number };
}

/** Reads YAML text; `source` is the file's name in mistakes. */
export function parseConfigDocument(text: string, source: string): ConfigDocument {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  const at = (offset: number): { source: string; line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { source, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const mistakes = [...document.errors, ...document.warnings].map((error): ConfigMistake => ({
    ...at(error.pos[0]),
    key: '',
    ...explain(error),
  }));
  const usable = [...document.errors, ...document.warnings].every((error) =>
    ['DUPLICATE_KEY', 'TAG_RESOLVE_FAILED', 'BAD_SCALAR_START'].includes(error.code),
  );
  const top = usable ? toPlain(document, () => mistakes.push({ ...at(0), key: '', expected: 'YAML', found: 'too many aliases' })) : {};
  if (isPlainObject(top)) return { tree: top, mistakes, usable, placeOf: (path, of = 'value') => at(offsetOf(document, path, of)) };
  return {
    tree: {},
    usable: false,
    mistakes: [{ ...at(0), key: '', expected: 'keys with values', found: Array.isArray(top) ? 'a list' : 'a single value' }],
    placeOf: () => at(0),
  };
}

function toPlain(document: Document, refuse: () => void): unknown {
  try {
    return document.contents === null ? {} : document.toJS();
  } catch {
    refuse();
    return {};
  }
}

function offsetOf(document: Document, path: readonly PropertyKey[], of: 'key' | 'value'): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const [index, part] of path.entries()) {
    if (!isCollection(node)) break;
    const pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === part) : undefined;
    const next: unknown = pair ? pair.value : isMap(node) ? undefined : node.get(Number(part), true);
    const wanted = pair && (of === 'key' || index < path.length - 1 || !hasPlace(next)) ? pair.key : next;
    if (!hasPlace(wanted)) break;
    offset = wanted.range[0];
    node = next;
  }
  return offset;
}

function hasPlace(node: unknown): node is Node & { range: [number, number, number] } {
  return typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range);
}

type Explanation = Pick<ConfigMistake, 'expected' | 'found'> & { hint?: string };

/** In words of ours: the parser's messages quote the text, which may be a secret. */
const explanations: Partial<Record<ErrorCode, Explanation>> = {
  DUPLICATE_KEY: { expected: 'each key once', found: 'a key that stands above already' },
  TAB_AS_INDENT: { expected: 'spaces', found: 'a tab' },
  BAD_SCALAR_START: {
    expected: 'a value',
    found: 'a character that has a meaning in YAML',
    hint: "put the value in quotes: '@alice:example.org'",
  },
  TAG_RESOLVE_FAILED: {
    expected: 'a value',
    found: 'a YAML tag, because the value begins with `!`',
    hint: "put the value in quotes: '!abc:example.org'",
  },
  MISSING_CHAR: { expected: 'a closing quote or bracket', found: 'the end of the value' },
  BLOCK_AS_IMPLICIT_KEY: { expected: 'one `key: value` a line', found: 'something else', hint: 'put a value that holds `: ` in quotes' },
  MULTILINE_IMPLICIT_KEY: { expected: 'one `key: value` a line', found: 'a line without a colon' },
  BAD_ALIAS: { expected: 'a value', found: 'an alias of YAML, because the value begins with `*`', hint: "put the value in quotes: '*'" },
  BAD_INDENT: { expected: 'another indentation', found: 'a line that does not fit the one above' },
};

function explain({ code }: YAMLError): Explanation {
  return explanations[code] ?? { expected: 'YAML', found: `something else (${code.toLowerCase().replaceAll('_', ' ')})` };
}

/** A mapping, rather than a list, a class's instance or nothing. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null);
}
