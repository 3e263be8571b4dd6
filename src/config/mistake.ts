import { closest, distance } from 'fastest-levenshtein';

/** One thing that is wrong in the configuration, and where. Never holds a secret. */
export interface ConfigMistake {
  /** The configuration file, or the environment variable that the value came from. */
  source: string;
  /** 1-based; absent for an environment variable. */
  line?: number;
  column?: number;
  /** `people.alice.user_ids[0]`; empty for the file as a whole. */
  key: string;
  expected: string;
  found: string;
  /** The nearest key or variable that exists, where an unknown one was found. */
  nearest?: string;
  /** What to type. */
  hint?: string;
}

/** Something that works and that the operator should know of. */
export interface ConfigWarning {
  key: string;
  message: string;
}

/**
 * For the terminal, one mistake in two lines, in the order of the file:
 *
 *     steward.yaml:4:3: homeserver.ulr: unknown key
 *         did you mean `url`?
 */
export function formatMistakes(mistakes: readonly ConfigMistake[]): string {
  return [...mistakes]
    .sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity) || (a.column ?? 0) - (b.column ?? 0))
    .map(formatMistake)
    .join('\n');
}

function formatMistake(mistake: ConfigMistake): string {
  const place = [mistake.source, mistake.line, mistake.column].filter((part) => part !== undefined).join(':');
  const lines = [[place, mistake.key, `expected ${mistake.expected}, found ${mistake.found}`].filter((part) => part !== '').join(': ')];
  if (mistake.nearest !== undefined) lines.push(`    did you mean \`${mistake.nearest}\`?`);
  if (mistake.hint !== undefined) lines.push(`    ${mistake.hint}`);
  return lines.join('\n');
}

/** `people.alice.user_ids[0]` */
export function dotted(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`),
    '',
  );
}

/** The known word that was probably meant: one that begins alike, or at most a third of it differs. */
export function nearestOf(word: string, known: readonly string[]): string | undefined {
  const beginning = known.find((candidate) => word.length > 2 && candidate.startsWith(word));
  if (beginning !== undefined || known.length === 0) return beginning;
  const nearest = closest(word, known);
  return distance(word, nearest) <= Math.max(2, Math.floor(word.length / 3)) ? nearest : undefined;
}

/** A value as a mistake shows it: its text where that is harmless, otherwise only its kind. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return 'keys with values';
  const text = String(value);
  // A token or an address with credentials that was put under the wrong key must not reach a terminal or a log.
  if (text.length > 80 || /:\/\/|[A-Za-z0-9_-]{20}/.test(text)) return `a ${typeof value === 'string' ? 'text' : typeof value}`;
  return JSON.stringify(value);
}
