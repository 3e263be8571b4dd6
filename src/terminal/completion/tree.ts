import type { Command } from '../../commands/define.ts';
import { ownOptions, sharedOptions, type Option } from '../../commands/grammar/options.ts';
import type { Registry } from '../../commands/registry.ts';
import { ownCommands } from '../own-commands.ts';

/** An option as a shell offers it. */
export interface Offer {
  /** `--email`, and `-e` where there is one. */
  flags: readonly string[];
  takes: 'nothing' | 'value' | 'file' | readonly string[];
  description: string;
}

/** A place on the command line: the words before it, and what may follow. */
export interface Place {
  /** `user create`; empty at the start. */
  path: string;
  next: readonly { word: string; description: string }[];
  options: readonly Offer[];
}

const configOffer: Offer = { flags: ['--config'], takes: 'file', description: 'The configuration file.' };
const inputOffer: Offer = { flags: ['--input'], takes: 'file', description: 'A file with one target a line.' };

/** Every place that completion knows, from the registry and the binary's own commands. */
export function completionTree(registry: Registry): Place[] {
  const set = registry.commands.map((command) => ({ path: command.name, description: command.summary, options: offersOf(command) }));
  const own = ownCommands.flatMap(({ name, summary, verbs }) => {
    const options = name === 'run' || name === 'config' ? [configOffer] : [];
    return [{ path: name, description: summary, options }, ...verbs.map((verb) => ({ path: `${name} ${verb}`, description: '', options }))];
  });
  const leaves = [...set, ...own];
  const helped = set
    .filter(({ path }) => path !== 'help')
    .map(({ path, description }) => ({ path: `help ${path}`, description, options: [] }));
  const all = [...leaves, ...helped];
  const paths = new Set(['', ...all.flatMap(({ path }) => path.split(' ').map((_, at, words) => words.slice(0, at + 1).join(' ')))]);
  const start: Offer[] = [
    configOffer,
    { flags: ['--help'], takes: 'nothing', description: 'What there is.' },
    { flags: ['--version'], takes: 'nothing', description: 'The version.' },
  ];
  return [...paths].map((path) => ({
    path,
    next: nextWords(path, all),
    options: path === '' ? start : (all.find((leaf) => leaf.path === path)?.options ?? []),
  }));
}

function nextWords(path: string, leaves: readonly { path: string; description: string }[]): Place['next'] {
  const words = new Map<string, string>();
  const before = path === '' ? '' : `${path} `;
  for (const leaf of leaves) {
    if (!leaf.path.startsWith(before) || leaf.path === path) continue;
    const rest = leaf.path.slice(before.length).split(' ');
    const word = rest[0] ?? '';
    if (rest.length === 1) words.set(word, leaf.description);
    else if (!words.has(word)) words.set(word, `Commands of the group ${word}.`);
  }
  return [...words].map(([word, description]) => ({ word, description }));
}

function offersOf(command: Command): Offer[] {
  const secrets = Object.entries(command.secrets ?? {}).flatMap(([name, { alias, description }]): Offer[] => [
    { flags: [`--${name}`, `-${alias}`], takes: 'nothing', description: `${description} Asks for it.` },
    { flags: [`--${name}-file`], takes: 'file', description: `${description} From a file.` },
    { flags: [`--${name}-stdin`], takes: 'nothing', description: `${description} From standard input.` },
  ]);
  const bulk = command.kind === 'write' && command.bulk ? [inputOffer] : [];
  return [
    ...[...ownOptions(command), ...sharedOptions(command)].filter((option) => option.type !== 'strings').map(offerOf),
    ...secrets,
    ...bulk,
    configOffer,
  ];
}

function offerOf(option: Option): Offer {
  return {
    flags: [`--${option.flag}`, ...(option.alias === undefined ? [] : [`-${option.alias}`])],
    takes: option.type === 'boolean' ? 'nothing' : (option.choices ?? 'value'),
    description: option.description,
  };
}
