import { ownOptions, sharedOptions } from './options.ts';
import type { Parsed } from './parse.ts';
import { quote } from './tokenise.ts';

/** An argument as it was typed. */
export type ArgumentValue = string | boolean | readonly string[];

/** The command line, without a prefix, that parses to the same command and arguments. */
export function printLine(
  parsed: Pick<Parsed, 'command'> & { args: Readonly<Record<string, ArgumentValue | undefined>>; flags?: Partial<Parsed['flags']> },
): string {
  const words = [parsed.command.name];
  const options = ownOptions(parsed.command);
  const positionals = options.filter((option) => option.positional !== undefined).sort((a, b) => (a.positional ?? 0) - (b.positional ?? 0));
  let gap = false;
  for (const option of positionals) {
    const value = parsed.args[option.key];
    if (value === undefined) {
      gap = true;
      continue;
    }
    const values = typeof value === 'object' ? value : [String(value)];
    // After one that is left out, the next can only be given by its name.
    if (gap && typeof value !== 'object') words.push(`--${option.flag}=${quoteAfterEquals(values[0] ?? '')}`);
    else words.push(...values.map(quote));
  }
  for (const option of options) {
    const value = parsed.args[option.key];
    if (option.positional !== undefined || value === undefined || value === false) continue;
    if (option.type === 'boolean') words.push(`--${option.flag}`);
    else words.push(`--${option.flag}=${quoteAfterEquals(typeof value === 'object' ? value.join(' ') : String(value))}`);
  }
  for (const option of sharedOptions(parsed.command))
    if (parsed.flags?.[option.key as keyof Parsed['flags']]) words.push(`--${option.flag}`);
  return words.join(' ');
}

function quoteAfterEquals(value: string): string {
  return value === '' ? '""' : quote(value);
}
