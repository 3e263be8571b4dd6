import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { Failure } from '../failures/failure.ts';
import type { Prompts } from './prompts.ts';
import type { SecretSource } from './words.ts';

const largestInput = 1_000_000;
const mostItems = 10_000;
/** A file of age with the keys of many months. */
const largestSecret = 65_536;

/**
 * The lines of `--input` that are not blank.
 *
 * @param path a file, or `-` for standard input
 * @throws Failure `usage.input-too-large` above 1 MB or 10 000 lines, `usage.input-unreadable`
 */
export async function readItems(path: string, stdin: Readable): Promise<string[]> {
  const text = await readText(path, stdin, largestInput, 'the list of items');
  const items = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (items.length > mostItems) throw new Failure('usage.input-too-large');
  return items;
}

/**
 * Values of secret arguments, each from a prompt, a file or standard input; one line break at the end is dropped.
 *
 * @param warn takes what the person should know of a file
 * @throws Failure `usage.no-terminal`, `usage.input-unreadable`, `usage.invalid-value`, `access.declined`
 */
export async function readSecrets(
  sources: ReadonlyMap<string, SecretSource>,
  stdin: Readable,
  prompts: Prompts,
  warn: (text: string) => void,
): Promise<Record<string, string>> {
  const secrets: Record<string, string> = {};
  for (const [name, source] of sources) {
    const value =
      source.from === 'prompt'
        ? await askTwice(name, prompts)
        : (await readText(source.from === 'file' ? source.path : '-', stdin, largestSecret, `the ${name}`, warn)).replace(/\r?\n$/, '');
    if (value === '' || (source.lines !== true && /[\r\n\0]/.test(value)))
      throw new Failure('usage.invalid-value', {
        reason: value === '' ? `the ${name} is empty` : `the ${name} is more than one line`,
        hint: 'One line, with nothing else.',
      });
    secrets[name] = value;
  }
  return secrets;
}

async function askTwice(name: string, prompts: Prompts): Promise<string> {
  if (!prompts.available)
    throw new Failure('usage.no-terminal', {
      reason: `the ${name} must be typed, and there is no terminal to ask on`,
      hint: `\`--${name}-file FILE\` or \`--${name}-stdin\` reads it.`,
    });
  const first = await prompts.secret(`New ${name}:`);
  const second = first === null ? null : await prompts.secret('Again:');
  if (first === null || second === null)
    throw new Failure('access.declined', { attempted: `ask for the ${name}`, reason: 'the prompt was left' });
  if (first !== second) throw new Failure('usage.invalid-value', { reason: 'the two are not the same', hint: 'Type it again.' });
  return first;
}

async function readText(path: string, stdin: Readable, limit: number, what: string, warn?: (text: string) => void): Promise<string> {
  const unreadable = (reason: string, cause?: unknown): Failure =>
    new Failure('usage.input-unreadable', { attempted: `read ${what} from ${path === '-' ? 'standard input' : path}`, reason, cause });
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    await using file = path === '-' ? null : await open(path);
    if (warn !== undefined && file !== null && ((await file.stat()).mode & 0o077) !== 0)
      warn(`others on this machine may read ${path}; \`chmod 600\` it`);
    for await (const chunk of (file?.createReadStream({ autoClose: false }) ?? stdin) as AsyncIterable<Buffer | string>) {
      const piece = Buffer.from(chunk as string);
      bytes += piece.length;
      if (bytes > limit) break;
      chunks.push(piece);
    }
  } catch (error) {
    throw unreadable(`it cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`, error);
  }
  if (bytes > limit) throw limit === largestInput ? new Failure('usage.input-too-large') : unreadable(`it is longer than ${limit} bytes`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    throw unreadable('it is not UTF-8', error);
  }
}
