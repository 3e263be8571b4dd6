import type { Command } from '../commands/define.ts';
import type { Registry } from '../commands/registry.ts';
import { Failure } from '../failures/failure.ts';

/** Where a secret argument comes from; never from the command line, which everybody on the machine can read. */
export type SecretSource = ({ from: 'prompt' } | { from: 'file'; path: string } | { from: 'stdin' }) & {
  /** Whether it may have several lines. */
  lines?: boolean;
};

/** What was typed after `steward`, apart: words for the command, and what only the terminal knows. */
export interface ShellLine {
  words: readonly string[];
  configPath: string | undefined;
  /** Path of the file with one target a line, `-` for standard input. */
  inputPath: string | undefined;
  secrets: ReadonlyMap<string, SecretSource>;
  /** The reason of `--break-glass REASON`. */
  breakGlass: string | undefined;
  json: boolean;
}

/**
 * Takes out of the arguments what only the terminal knows.
 *
 * @throws Failure `usage.secret-in-command`, `usage.missing-value`, `usage.repeated-option`
 */
export function readWords(argv: readonly string[], registry: Registry): ShellLine {
  const config = takeOption(argv, 'config');
  const input = takeOption(config.rest, 'input');
  const breakGlass = takeOption(input.rest, 'break-glass', 'a reason');
  const command = registry.match(breakGlass.rest)?.command;
  const { words, secrets } = takeSecrets(breakGlass.rest, command?.secrets ?? {});
  return { words, configPath: config.value, inputPath: input.value, secrets, breakGlass: breakGlass.value, json: wantsJson(argv) };
}

/** Whether the answer is asked for as JSON, also where the rest cannot be read. */
export function wantsJson(argv: readonly string[]): boolean {
  return beforeDashes(argv).includes('--json');
}

/** The value of `--NAME VALUE` or `--NAME=VALUE`, and the words without it. */
export function takeOption(words: readonly string[], name: string, what = 'a file'): { value: string | undefined; rest: string[] } {
  const flag = `--${name}`;
  const end = beforeDashes(words).length;
  const rest: string[] = [];
  let value: string | undefined;
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (at >= end || (word !== flag && !word.startsWith(`${flag}=`))) {
      rest.push(word);
      continue;
    }
    if (value !== undefined) throw new Failure('usage.repeated-option', { reason: `\`${flag}\` is given twice` });
    if (word === flag) at += 1;
    value = word === flag ? words[at] : word.slice(flag.length + 1);
    if (value === undefined || value === '')
      throw new Failure('usage.missing-value', {
        reason: `\`${flag}\` needs ${what}`,
        hint: `\`${flag} ${what.split(' ')[1]?.toUpperCase() ?? ''}\`.`,
      });
  }
  return { value, rest };
}

function takeSecrets(
  words: readonly string[],
  known: NonNullable<Command['secrets']>,
): { words: string[]; secrets: Map<string, SecretSource> } {
  let rest = [...words];
  const secrets = new Map<string, SecretSource>();
  for (const [name, { alias, lines = false }] of Object.entries(known)) {
    refuseValue(rest, name, alias);
    const file = takeOption(rest, `${name}-file`);
    const own = beforeDashes(file.rest);
    const sources: SecretSource[] = [
      ...(file.value === undefined ? [] : [{ from: 'file', path: file.value } as const]),
      ...own.flatMap((word): SecretSource[] =>
        word === `--${name}-stdin` ? [{ from: 'stdin' }] : word === `--${name}` || word === `-${alias}` ? [{ from: 'prompt' }] : [],
      ),
    ];
    if (sources.length > 1) throw new Failure('usage.repeated-option', { reason: `the ${name} is given twice` });
    if (sources[0] !== undefined) secrets.set(name, lines ? { ...sources[0], lines } : sources[0]);
    const taken = [`--${name}-stdin`, `--${name}`, `-${alias}`];
    rest = file.rest.filter((word, at) => at >= own.length || !taken.includes(word));
  }
  return { words: rest, secrets };
}

/** A word after `-p` may be a target as well; it is refused all the same, for it may be the secret. */
function refuseValue(words: readonly string[], name: string, alias: string): void {
  const before = beforeDashes(words);
  const joined = before.some((word) => word.startsWith(`--${name}=`) || (word.startsWith(`-${alias}`) && word.length > 2));
  const apart = before.some((word, at) => (word === `--${name}` || word === `-${alias}`) && before[at + 1]?.startsWith('-') === false);
  if (!joined && !apart) return;
  throw new Failure('usage.secret-in-command', {
    reason: `a value stands with \`--${name}\`, where everybody on this machine can read it; nothing was run`,
    hint: `\`-${alias}\` at the end asks for it; \`--${name}-file FILE\` and \`--${name}-stdin\` read it. Change one that was typed.`,
  });
}

function beforeDashes(words: readonly string[]): readonly string[] {
  const dashes = words.indexOf('--');
  return dashes === -1 ? words : words.slice(0, dashes);
}
