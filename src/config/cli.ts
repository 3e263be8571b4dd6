import { Document } from 'yaml';
import { Failure } from '../failures/failure.ts';
import { isPlainObject } from './document.ts';
import { defaultConfigPath, loadConfig, type InvalidConfig, type LoadedConfig } from './load.ts';
import { formatMistakes, nearestOf, type ConfigWarning } from './mistake.ts';
import { nameOf, outline, type ConfigKey } from './outline.ts';
import { renderSample } from './sample.ts';
import type { Override } from './environment.ts';

export interface ConfigIo {
  env: NodeJS.ProcessEnv;
  out(text: string): void;
  err(text: string): void;
}

const usage = 'usage: steward config {check | show | sample} [--config FILE]';

/** `steward config …`: `argv` begins after the word config. Returns the exit code: 0, or 2 when there are mistakes. */
export function configCommand(argv: readonly string[], io: ConfigIo): number {
  const { verb, file, extra } = parse(argv);
  if (verb === 'sample' && extra === undefined) {
    io.out(renderSample());
    return 0;
  }
  if ((verb !== 'check' && verb !== 'show') || extra !== undefined) {
    const unknown = extra ?? verb;
    const nearest = unknown === undefined ? undefined : nearestOf(unknown, ['check', 'show', 'sample', '--config']);
    io.err(
      `${unknown === undefined ? '' : `error: unknown word ${JSON.stringify(unknown)}${nearest === undefined ? '' : `; did you mean \`${nearest}\`?`}\n`}${usage}\n`,
    );
    return 2;
  }
  const loaded = loadConfig(file ?? requireConfigPath(io.env), io.env);
  if (!loaded.ok) {
    io.err(describeMistakes(loaded));
    return 2;
  }
  io.err(formatWarnings(loaded.warnings));
  io.out(verb === 'show' ? renderEffective(loaded) : `${loaded.path}: valid\n`);
  return 0;
}

/** The configuration's path, or the failure `config.not-found` naming where was looked. */
export function requireConfigPath(env: NodeJS.ProcessEnv): string {
  const path = defaultConfigPath(env);
  if (path === undefined)
    throw new Failure('config.not-found', { reason: 'there is no steward.yaml here, in ~/.config/steward or in /etc/steward' });
  return path;
}

/** All mistakes and how many there are, for the terminal. */
export function describeMistakes({ path, mistakes }: InvalidConfig): string {
  const count = mistakes.length === 1 ? 'one mistake' : `${mistakes.length} mistakes`;
  return `${formatMistakes(mistakes)}\nerror: ${path} has ${count} (config.invalid)\n`;
}

/** One line a warning; empty when there is none. */
export function formatWarnings(warnings: readonly ConfigWarning[]): string {
  return warnings.map(({ key, message }) => `warning: ${key}: ${message}\n`).join('');
}

/** What is in force, as YAML: defaults filled in, secrets as «secret», each value that is not from the file saying where from. */
export function renderEffective({ written, overrides, path }: LoadedConfig): string {
  const document = new Document({});
  document.commentBefore = ` ${path}, its defaults and the environment`;
  const add = (key: ConfigKey, value: unknown, at: readonly string[], fromFile: boolean): void => {
    const origin = fromOverride(overrides, at);
    if (key.kind === 'value') {
      if (value === undefined) return;
      const node = document.createNode(JSON.parse(JSON.stringify(value)) as unknown, { flow: true });
      node.comment = origin ? ` ${origin}` : fromFile ? null : ' default';
      document.setIn(at, node);
      return;
    }
    const entries = isPlainObject(value) ? value : {};
    const given = (name: string): boolean => fromFile && name in entries;
    if (key.kind === 'map') {
      for (const [name, entry] of Object.entries(entries)) for (const child of key.children) add(child, entry, [...at, name], given(name));
      return;
    }
    if (value === undefined && !key.required && key.fallback === undefined) return;
    for (const child of key.children) add(child, entries[nameOf(child)] ?? child.fallback, [...at, nameOf(child)], given(nameOf(child)));
  };
  for (const key of outline.children) add(key, written[nameOf(key)] ?? key.fallback, [nameOf(key)], nameOf(key) in written);
  return `${document.toString({ lineWidth: 0 }).trimEnd()}\n`;
}

function fromOverride(overrides: readonly Override[], at: readonly string[]): string | undefined {
  return overrides.findLast(({ path }) => path.every((part, index) => part === at[index]))?.variable;
}

function parse(argv: readonly string[]): { verb: string | undefined; file: string | undefined; extra: string | undefined } {
  const words = [...argv];
  const index = words.indexOf('--config');
  const file = index === -1 ? undefined : words.splice(index, 2)[1];
  const [verb, extra] = words;
  return { verb, file, extra: index !== -1 && file === undefined ? '--config' : extra };
}
