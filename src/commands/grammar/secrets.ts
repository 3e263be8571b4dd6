import { distance } from 'fastest-levenshtein';
import type { Command } from '../define.ts';
import type { Registry } from '../registry.ts';
import { ownOptions, sharedOptions } from './options.ts';
import { longestLine } from './parse.ts';
import { tokenise } from './tokenise.ts';

/** What looks like a secret wherever it stands. That a value follows an option does not matter, the habit does; phones make one dash of two. */
const shapes: readonly RegExp[] = [
  /(?:^|\s)(?:[-\u2010-\u2015\u2212]{1,2}(?:password|passwd|token|secret|access-token)(?![\w-])|-p|(?:password|passwd|token)[=:])/iu,
  // Access tokens of Synapse and of Matrix Authentication Service.
  /\b(?:syt|mct|mcr|mat|mar)_[A-Za-z0-9_]{16,}/u,
  /AGE-SECRET-KEY-|AGE-PLUGIN-[A-Z0-9-]+-1/iu,
  // A recovery key of end-to-end encryption: 48 letters of base58 in groups of four, https://spec.matrix.org/latest/client-server-api/#key-representation
  /\bEs[1-9A-HJ-NP-Za-km-z]{2}(?:\s?[1-9A-HJ-NP-Za-km-z]{4}){11}\b/u,
  // Lines of homeserver.yaml.
  /\b(?:registration_shared_secret|macaroon_secret_key|form_secret|turn_shared_secret|client_secret)["']?\s*[:=]/iu,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----/u,
];

/** Whether a text holds something that is a password, token or key by its form. */
export function holdsSecret(text: string): boolean {
  return shapes.some((shape) => shape.test(text));
}

/**
 * Whether a line gives a command that sets a password more words than it takes: the password, typed bare. A command whose
 * name is only nearly right counts, and an option that is nearly `--password`.
 */
export function mayHoldPassword(registry: Registry, line: string): boolean {
  // Refused for its length, whatever is in it.
  if (line.length > longestLine) return false;
  const tokens = tokenise(line);
  const words = Array.isArray(tokens) ? tokens.map(({ value }) => value) : line.split(/\s+/u);
  const { command, rest } = meant(registry, words);
  // A command line within one, such as that of a schedule.
  if (rest.some((word) => /\s/u.test(word) && mayHoldPassword(registry, word))) return true;
  // What stands in a block that a command takes is sealed.
  if (command?.secrets === undefined || (command.kind === 'write' && command.block !== undefined)) return false;
  const options = [...ownOptions(command), ...sharedOptions(command)];
  const places = new Set(options.filter(({ positional }) => positional !== undefined).map(({ key }) => key));
  let loose = 0;
  for (let at = 0; at < rest.length; at += 1) {
    const word = rest[at] ?? '';
    if (word === '--') {
      loose += rest.length - at - 1;
      break;
    }
    if (!/^[-\u2010-\u2015\u2212]+\p{L}/u.test(word)) {
      loose += 1;
      continue;
    }
    const name = word.replace(/^[-\u2010-\u2015\u2212]+/u, '').split('=')[0] ?? '';
    if (Object.keys(command.secrets).some((secret) => distance(name.toLowerCase(), secret) <= 2)) return true;
    const option = options.find(({ flag, alias }) => flag === name || alias === name);
    if (option !== undefined) places.delete(option.key);
    // What follows an option that there is not is taken for its value.
    if (option?.type !== 'boolean' && !word.includes('=')) at += 1;
  }
  return loose > places.size;
}

/** The command that a line names, or nearly names where it would set a password. */
function meant(registry: Registry, words: readonly string[]): { command: Command | undefined; rest: readonly string[] } {
  const found = registry.match(words);
  if (found !== undefined) return { command: found.command, rest: words.slice(found.words) };
  for (const command of registry.commands) {
    if (command.secrets === undefined) continue;
    for (const name of [command.name, ...(command.formerly ?? [])]) {
      const length = name.split(' ').length;
      if (distance(words.slice(0, length).join(' ').toLowerCase(), name) <= 2) return { command, rest: words.slice(length) };
    }
  }
  return { command: undefined, rest: [] };
}
