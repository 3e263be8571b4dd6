import type { z } from 'zod';
import yargsParser from 'yargs-parser';
import { Failure, type FailureDetails } from '../../failures/failure.ts';
import type { FailureId } from '../../failures/table.ts';
import type { Command } from '../define.ts';
import { nearest, type Registry } from '../registry.ts';
import { excerpt } from './excerpt.ts';
import { ownOptions, sharedOptions, type Option, type SharedKey } from './options.ts';
import { tokenise, type Token } from './tokenise.ts';

/** A command line as it was typed, without the prefix. */
export interface CommandLine {
  /** What mistakes are shown on. */
  line: string;
  tokens: readonly Token[];
  /** What stood before the line, shown in mistakes: `!` or `steward `. */
  prefix: string;
}

export type Flags = Record<SharedKey, boolean>;

export interface Parsed {
  command: Command;
  args: Record<string, unknown>;
  flags: Flags;
}

/** A mistake of the person: what is wrong, and the line with a caret under where. */
export interface Mistake {
  failure: Failure;
  command: string | null;
  excerpt: string | undefined;
}

export type ParseResult = { ok: true; parsed: Parsed } | { ok: false; mistake: Mistake };

export const longestLine = 4096;

/** Reads a line typed in a room. Never throws. */
export function parseLine(registry: Registry, line: string, prefix = '!'): ParseResult {
  if (line.length > longestLine) return mistake('usage.too-long', {}, null, undefined);
  const tokens = tokenise(line);
  if (!Array.isArray(tokens)) return mistake(tokens.id, {}, null, excerpt(prefix, line, tokens.start, tokens.end));
  return parseTokens(registry, { line, tokens, prefix });
}

/** Reads the words that a shell has split already. Never throws. */
export function parseWords(registry: Registry, words: readonly string[], prefix = 'steward '): ParseResult {
  let line = '';
  const tokens = words.map((value): Token => {
    const start = line === '' ? 0 : line.length + 1;
    line = line === '' ? value : `${line} ${value}`;
    return { value, start, end: line.length, quoted: false };
  });
  return parseTokens(registry, { line, tokens, prefix });
}

export function parseTokens(registry: Registry, input: CommandLine): ParseResult {
  const words = input.tokens.map((token) => token.value);
  const found = registry.match(words);
  if (found === undefined) return unknownCommand(registry, input);
  const rest = input.tokens.slice(found.words);
  const command = (rest.length === 0 ? bareOf(registry, found.command) : undefined) ?? found.command;
  const at = (token: Token | undefined): string | undefined => excerptOf(input, token);
  const fail = (id: FailureId, details: FailureDetails, token: Token | undefined): ParseResult =>
    mistake(id, details, command.name, at(token));

  const options = [...ownOptions(command), ...sharedOptions(command)];
  const read = readOptions(rest, options);
  if ('id' in read) return fail(read.id, read.details, read.token);

  const positionals = options.filter((option) => option.positional !== undefined).sort((a, b) => (a.positional ?? 0) - (b.positional ?? 0));
  const values: Record<string, unknown> = { ...read.values };
  const spans = new Map(read.spans);
  for (const option of positionals) {
    if (values[option.key] !== undefined) continue;
    if (option.type === 'strings') {
      const taken = read.loose.splice(0);
      if (taken.length > 0) values[option.key] = taken.map((token) => token.value);
      if (taken[0] !== undefined) spans.set(option.key, taken[0]);
      continue;
    }
    const token = read.loose.shift();
    if (token === undefined) continue;
    values[option.key] = token.value;
    spans.set(option.key, token);
  }
  const [extra] = read.loose;
  // Where a password is set, the word may be one: it is not said again.
  if (extra !== undefined && command.secrets !== undefined)
    return fail(
      'usage.extra-argument',
      { hint: 'Does a value lack its quotes? If it was a password, rotate it: none is typed here.' },
      undefined,
    );
  if (extra !== undefined) return fail('usage.extra-argument', { reason: `\`${extra.value}\` is one argument too many` }, extra);

  const flags = Object.fromEntries(sharedOptions(command).map((option) => [option.key, values[option.key] === true])) as Partial<Flags>;
  const own = Object.fromEntries(ownOptions(command).flatMap(({ key }) => (values[key] === undefined ? [] : [[key, values[key]]])));
  const allFlags: Flags = { help: false, wide: false, json: false, csv: false, dryRun: false, yes: false, ...flags };
  if (allFlags.help) return { ok: true, parsed: { command, args: {}, flags: allFlags } };

  const checked = (command.args as z.ZodObject).safeParse(own);
  if (checked.success) return { ok: true, parsed: { command, args: checked.data, flags: allFlags } };
  const issue = checked.error.issues[0];
  const key = String(issue?.path[0] ?? '');
  const option = options.find((candidate) => candidate.key === key);
  if (option !== undefined && own[key] === undefined) {
    const name = option.positional === undefined ? `--${option.flag}` : option.value;
    return fail('usage.missing-value', { reason: `${name} is missing`, hint: usageHint(command) }, undefined);
  }
  return fail(
    'usage.invalid-value',
    { reason: `${option?.value ?? key} must be ${issue?.message ?? 'of another form'}`, hint: usageHint(command) },
    spans.get(key),
  );
}

interface Read {
  values: Record<string, unknown>;
  spans: Map<string, Token>;
  loose: Token[];
}
interface Misread {
  id: FailureId;
  details: FailureDetails;
  token: Token;
}

/** Options and what is no option, by yargs-parser with every coercion off; what it would pass over silently is caught before. */
function readOptions(tokens: readonly Token[], options: readonly Option[]): Read | Misread {
  const words: string[] = [];
  const spans = new Map<string, Token>();
  const loose: Token[] = [];
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at];
    if (token === undefined) break;
    if (token.value === '--' && !token.quoted) {
      loose.push(...tokens.slice(at + 1));
      break;
    }
    if (token.quoted || !/^[-\u2010-\u2015\u2212]./u.test(token.value)) {
      loose.push(token);
      continue;
    }
    if (!token.value.startsWith('-') || /^-[\u2010-\u2015\u2212]/u.test(token.value)) return { id: 'usage.smart-dash', details: {}, token };
    const [name, joined] = splitOnce(token.value.replace(/^--?/, ''));
    const long = token.value.startsWith('--');
    const option = options.find((candidate) => (long ? candidate.flag === name : candidate.alias === name));
    if (option === undefined) {
      const near = nearest(
        [name.toLowerCase()],
        options.map((candidate) => candidate.flag),
      );
      return {
        id: 'usage.unknown-option',
        details: {
          reason: `there is no option \`${long ? '--' : '-'}${name}\``,
          ...(near === undefined ? {} : { hint: `Did you mean \`--${near}\`?` }),
        },
        token,
      };
    }
    if (spans.has(option.key)) return { id: 'usage.repeated-option', details: { reason: `\`--${option.flag}\` is given twice` }, token };
    if (option.type === 'boolean') {
      if (joined !== undefined) return { id: 'usage.invalid-value', details: { reason: `\`--${option.flag}\` takes no value` }, token };
      words.push(`--${option.flag}`);
      spans.set(option.key, token);
      continue;
    }
    const next = tokens[at + 1];
    if (joined === undefined && (next === undefined || (!next.quoted && next.value.startsWith('-')))) {
      return { id: 'usage.missing-value', details: { reason: `\`--${option.flag}\` needs a value` }, token };
    }
    words.push(`--${option.flag}=${joined ?? next?.value ?? ''}`);
    spans.set(option.key, joined === undefined && next !== undefined ? next : token);
    if (joined === undefined) at += 1;
  }
  const flat = yargsParser(words, {
    string: options.filter((option) => option.type !== 'boolean').map((option) => option.flag),
    boolean: options.filter((option) => option.type === 'boolean').map((option) => option.flag),
    configuration: {
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'dot-notation': false,
      'camel-case-expansion': false,
      'boolean-negation': false,
      'short-option-groups': false,
      'strip-aliased': true,
      'unknown-options-as-args': true,
    },
  }) as Record<string, unknown>;
  const values = Object.fromEntries(
    options.flatMap((option) =>
      spans.has(option.key) ? [[option.key, option.type === 'strings' ? [flat[option.flag]] : flat[option.flag]]] : [],
    ),
  );
  return { values, spans, loose };
}

function splitOnce(word: string): [string, string | undefined] {
  const equals = word.indexOf('=');
  return equals === -1 ? [word, undefined] : [word.slice(0, equals), word.slice(equals + 1)];
}

function unknownCommand(registry: Registry, input: CommandLine): ParseResult {
  const words = input.tokens.map((token) => token.value);
  const first = words[0];
  if (first === undefined)
    return mistake('usage.incomplete-command', { reason: 'no command is named', hint: '`!help` lists the commands.' }, null, undefined);
  const near = registry.suggest(words);
  const group = registry.inGroup(first.toLowerCase());
  if (group.length > 0) {
    const verbs = group.map((command) => command.name.slice(first.length + 1)).join(', ');
    const second = input.tokens[1];
    if (second === undefined)
      return mistake(
        'usage.incomplete-command',
        { reason: `\`${first}\` needs a verb: ${verbs}` },
        null,
        excerptOf(input, input.tokens[0]),
      );
    const meant = nearest(
      [second.value.toLowerCase()],
      group.map((command) => command.name.slice(first.length + 1)),
    );
    return mistake(
      'usage.unknown-command',
      {
        reason: `\`${first}\` has no verb \`${second.value}\``,
        hint: meant === undefined ? `It has ${verbs}.` : `Did you mean \`!${first} ${meant}\`?`,
      },
      null,
      excerptOf(input, second),
    );
  }
  return mistake(
    'usage.unknown-command',
    { reason: `there is no command \`${first.slice(0, 40)}\``, ...(near === undefined ? {} : { hint: `Did you mean \`!${near}\`?` }) },
    null,
    excerptOf(input, input.tokens[0]),
  );
}

/** What the name of a write stands for when nothing follows it. */
function bareOf(registry: Registry, command: Command): Command | undefined {
  return command.kind === 'write' && command.bare !== undefined ? registry.find(command.bare) : undefined;
}

function excerptOf(input: CommandLine, token: Token | undefined): string | undefined {
  return token === undefined ? undefined : excerpt(input.prefix, input.line, token.start, token.end);
}

function usageHint(command: Command): string {
  const example = command.examples[0];
  return example === undefined
    ? `\`!help ${command.name}\` shows what is needed.`
    : `For example \`!${example}\`; \`!help ${command.name}\` has more.`;
}

function mistake(id: FailureId, details: FailureDetails, command: string | null, shown: string | undefined): ParseResult {
  return { ok: false, mistake: { failure: new Failure(id, details), command, excerpt: shown } };
}
