import type { Action, Pattern, Statement } from './statement.ts';

/** A script that cannot be played; the message has a line for each mistake, `FILE:LINE: expected …`. */
export class ScriptError extends Error {
  override readonly name = 'ScriptError';
}

const defaultWithin = 15_000;

/** Reads a whole script. Throws ScriptError, which names every bad line. */
export function parseScript(script: string, file: string): Statement[] {
  const lines = script.split(/\r?\n/u);
  const statements: Statement[] = [];
  const mistakes: string[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const line = at + 1;
    const text = (lines[at] ?? '').trim();
    if (text === '' || text.startsWith('#')) continue;
    try {
      const block = blockOf(text, lines, at);
      at = block?.end ?? at;
      statements.push({ line, text, ...read(block?.head ?? text, block) });
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      mistakes.push(`${file}:${line}: ${error.message}`);
      if (error instanceof OpenBlock) break;
    }
  }
  if (mistakes.length > 0) throw new ScriptError(mistakes.join('\n'));
  return statements;
}

/** What follows cannot be told from its lines. */
class OpenBlock extends ScriptError {}

interface Block {
  /** The line without `<<END`. */
  head: string;
  opening: string;
  word: string;
  lines: string;
  end: number;
}

/** The lines between `… <<END` and `END`, when the line opens them. */
function blockOf(text: string, lines: readonly string[], at: number): Block | null {
  const {
    head,
    opening = '',
    word = '',
  } = /^(?<head>(?!steward\b|never\b)[^:/]+:.*?)(?<opening><<-?\s*(?<quote>['"]?)(?<word>[A-Za-z_]\w*)\k<quote>)$/u.exec(text)?.groups ??
  {};
  if (head === undefined) return null;
  const end = lines.findIndex((line, index) => index > at && line.trim() === word);
  if (end === -1) throw new OpenBlock(`expected a line ${word} after ${opening}; found the end of the file`);
  return { head: head.trim(), opening, word, lines: lines.slice(at + 1, end).join('\n'), end };
}

function read(text: string, block: Block | null): Action {
  const bare = withoutComment(text);
  const control = /^(?<kind>stop|kill|start)\s+steward$/u.exec(bare)?.groups?.['kind'];
  if (control !== undefined) return { kind: control as 'stop' | 'kill' | 'start' };
  const wait = /^wait\s+(?<time>.*)$/u.exec(bare)?.groups?.['time'];
  if (wait !== undefined) return { kind: 'wait', ms: milliseconds(wait) };
  const { word, exit, rest = '' } = /^@?(?<word>[\w.=/-]+)\s*(?:\((?<exit>\d{1,3})\))?\s*:\s*(?<rest>.*)$/u.exec(text)?.groups ?? {};
  if (exit !== undefined && word !== 'shell' && word !== 'run') throw expected('an exit code after `shell` or `run` only', text);
  switch (word) {
    case 'steward':
      return expectation(withoutComment(rest));
    case 'never': {
      const { pattern, time } = patternOf(withoutComment(rest));
      if (time !== '') throw expected('no time after `never: /regex/`, which holds to the end', time);
      return { kind: 'never', pattern };
    }
    case 'shell':
      return {
        kind: 'shell',
        command: required(rest, 'a command after `shell:`'),
        input: block === null ? '' : `${block.lines}\n`,
        exit: Number(exit ?? 0),
      };
    case 'run':
      return { kind: 'run', command: required(commandOf(rest, block), 'a command after `run:`'), input: '', exit: Number(exit ?? 0) };
    case undefined:
      throw expected('`NAME: …`, `wait 2s`, `start steward`, `stop steward` or `kill steward`', text);
    default:
      return speech(word, rest, block);
  }
}

/** Of a line that cannot hold ` # ` otherwise: a regular expression would close after it. */
function withoutComment(text: string): string {
  return text.replace(/\s+#\s[^/]*$/u, '');
}

function speech(who: string, rest: string, block: Block | null): Action {
  const { verb, more = '' } = /^(?<verb>react|unreact|edit|reply|file)(?:\s+(?<more>.*))?$/u.exec(rest)?.groups ?? {};
  const whole = (text: string): string =>
    [...(text === '' && block !== null ? [] : [text]), ...(block === null ? [] : [block.lines])].join('\n');
  switch (verb) {
    case 'react':
    case 'unreact':
      return { kind: verb, who, key: required(more.trim(), `an emoji after \`${verb}\``) };
    case 'edit':
    case 'reply':
      return { kind: verb, who, message: required(whole(more), `a text after \`${verb}\``) };
    case 'file': {
      const { path = '', quoted, caption = '' } = /^(?:"(?<quoted>[^"]+)"|(?<path>\S+))(?:\s+(?<caption>.*))?$/u.exec(more)?.groups ?? {};
      return { kind: 'file', who, path: required(quoted ?? path, 'a path after `file`'), message: whole(caption) };
    }
    case undefined:
    default:
      return { kind: 'say', who, message: required(whole(rest), `a text after \`${who}:\``) };
  }
}

function expectation(rest: string): Action {
  const { pattern, time } = patternOf(rest);
  return { kind: 'expect', pattern, withinMs: time === '' ? defaultWithin : milliseconds(time) };
}

function patternOf(rest: string): { pattern: Pattern; time: string } {
  const { source, flags = '', time = '' } = /^\/(?<source>.+)\/(?<flags>[a-z]*)(?:\s+(?<time>[\d.]+\s*[a-z]*))?$/u.exec(rest)?.groups ?? {};
  if (source === undefined) throw expected('`/regex/`, and perhaps flags and a time as in `/done/i 30s`', rest);
  try {
    new RegExp(source, flags);
  } catch (error) {
    throw expected('a regular expression of JavaScript', `${rest} (${(error as Error).message})`);
  }
  return { pattern: { source, flags: flags.replaceAll(/[gy]/gu, '') }, time };
}

/** As a shell reads it: the lines are the command's standard input; without a command they are the commands. */
function commandOf(rest: string, block: Block | null): string {
  if (block === null) return rest;
  return rest === '' ? block.lines : `${rest} ${block.opening}\n${block.lines}\n${block.word}`;
}

function milliseconds(time: string): number {
  const { count, unit = 's' } = /^(?<count>\d+(?:\.\d+)?)\s*(?<unit>ms|s|m|min)?$/u.exec(time.trim())?.groups ?? {};
  if (count === undefined) throw expected('a time such as `2s`, `500ms` or `1m`', time);
  return Number(count) * ({ ms: 1, s: 1000 }[unit] ?? 60_000);
}

function required(text: string, what: string): string {
  if (text.trim() === '') throw expected(what, 'nothing');
  return text;
}

function expected(what: string, found: string): ScriptError {
  return new ScriptError(`expected ${what}; found ${found}`);
}
