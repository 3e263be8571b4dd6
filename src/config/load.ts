import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { z } from 'zod';
import { Failure } from '../failures/failure.ts';
import { crossCheck, warningsOf } from './checks.ts';
import { parseConfigDocument, type ConfigDocument } from './document.ts';
import { applyOverrides, readEnvironment, type Override } from './environment.ts';
import { dotted, nearestOf, shown, type ConfigMistake, type ConfigWarning } from './mistake.ts';
import { allKeys, findKey, nameOf } from './outline.ts';
import { configSchema, type Config } from './schema.ts';
import { readSecretFiles } from './secret-files.ts';

export interface LoadedConfig {
  ok: true;
  config: Config;
  /** Absolute path of the file. */
  path: string;
  warnings: ConfigWarning[];
  /** Absolute paths of the secret files. */
  secretFiles: readonly string[];
  /** The keys as written in file and environment (snake_case), each secret file's content a Secret. */
  written: Record<string, unknown>;
  overrides: readonly Override[];
}

/** Every mistake, in no order; formatMistakes puts them in the order of the file. */
export interface InvalidConfig {
  ok: false;
  path: string;
  mistakes: ConfigMistake[];
}

/**
 * Reads the configuration file, the environment over it and the secret files it names. Relative paths start at the
 * file's folder. Mistakes are a value, all of them at once; throws `config.not-found` or `config.unreadable`.
 */
export function loadConfig(path: string, env: NodeJS.ProcessEnv): LoadedConfig | InvalidConfig {
  const file = resolve(path);
  const folder = dirname(file);
  const document = parseConfigDocument(readText(file), path);
  const { overrides, mistakes: unknownVariables } = readEnvironment(env, document.tree);
  if (!document.usable) return { ok: false, path: file, mistakes: [...document.mistakes, ...unknownVariables] };
  const place = placer(document, overrides);
  const merged = applyOverrides(document.tree, overrides);
  const { tree: written, mistakes: unreadable, paths: secretFiles } = readSecretFiles(merged, folder);
  const parsed = configSchema.safeParse(written);
  const checked = [
    ...unreadable.map(({ path: at, ...rest }) => ({ ...place(at), key: dotted(at), expected: 'the path of a readable file', ...rest })),
    ...(parsed.error?.issues ?? []).flatMap((issue) => ofIssue(issue, written, place)),
    ...crossCheck(merged).map(({ path: at, ...rest }) => ({ ...place(at), key: dotted(at), ...rest })),
  ];
  // A value that YAML could not read is told once.
  const twice = new Set(document.mistakes.map((mistake) => mistake.line));
  const mistakes = [
    ...document.mistakes,
    ...unknownVariables,
    ...checked.filter((mistake) => mistake.line === undefined || !twice.has(mistake.line)),
  ];
  if (!parsed.success || mistakes.length > 0) return { ok: false, path: file, mistakes };
  const config = withAbsolutePaths(parsed.data, folder);
  return { ok: true, config, path: file, warnings: warningsOf(config), secretFiles, written, overrides };
}

/** The first of $STEWARD_CONFIG, ./steward.yaml, ~/.config/steward/steward.yaml, /etc/steward/steward.yaml that exists; a named one need not. */
export function defaultConfigPath(env: NodeJS.ProcessEnv): string | undefined {
  if (env['STEWARD_CONFIG']) return env['STEWARD_CONFIG'];
  const own = env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config');
  return ['steward.yaml', join(own, 'steward', 'steward.yaml'), '/etc/steward/steward.yaml'].find((path) => existsSync(path));
}

type Place = (path: readonly PropertyKey[], of?: 'key' | 'value') => Pick<ConfigMistake, 'source' | 'line' | 'column'>;

/** Where a value came from: the environment where a variable sets it or its parent, otherwise the file. */
function placer(document: ConfigDocument, overrides: readonly Override[]): Place {
  return (path, of) => {
    const override = overrides.findLast((candidate) => candidate.path.every((part, index) => part === path[index]));
    return override === undefined ? document.placeOf(path, of) : { source: override.variable };
  };
}

function ofIssue(issue: z.core.$ZodIssue, written: Record<string, unknown>, place: Place): ConfigMistake[] {
  if (issue.code === 'unrecognized_keys') return issue.keys.map((name) => unknownKey([...issue.path, name], place));
  const key = findKey(issue.path.filter((part) => typeof part !== 'number'));
  const expected =
    key === undefined ? issue.message : typeof issue.path.at(-1) === 'number' ? key.type.replace(/^a list of: /, '') : key.type;
  const value = issue.path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown> | undefined)?.[part], written);
  const found =
    key?.kind === 'value' || value === undefined
      ? shown(value)
      : Array.isArray(value)
        ? 'a list'
        : value === null
          ? 'nothing'
          : 'a single value';
  return [
    { ...place(issue.path), key: dotted(issue.path), expected, found: key?.secretFile && value !== undefined ? 'something else' : found },
  ];
}

function unknownKey(path: readonly PropertyKey[], place: Place): ConfigMistake {
  const name = String(path.at(-1));
  const siblings = findKey(path.slice(0, -1).filter((part) => typeof part !== 'number'))?.children.map(nameOf) ?? [];
  const elsewhere = allKeys().find((key) => nameOf(key) === name);
  const nearest = nearestOf(name, siblings) ?? elsewhere?.path.join('.');
  return {
    ...place(path, 'key'),
    key: dotted(path),
    expected: 'a known key',
    found: 'an unknown one',
    ...(nearest === undefined ? {} : { nearest }),
  };
}

function withAbsolutePaths(config: Config, folder: string): Config {
  const dataDir = resolve(folder, config.dataDir);
  const { file } = config.secrets;
  return {
    ...config,
    dataDir,
    ...(config.backup === undefined ? {} : { backup: withAbsoluteBackup(config.backup, folder) }),
    ...(config.stack === undefined ? {} : { stack: withAbsoluteStack(config.stack, folder) }),
    secrets: { ...config.secrets, file: { ...file, dir: file.dir === undefined ? join(dataDir, 'secrets') : resolve(folder, file.dir) } },
  };
}

function withAbsoluteBackup(backup: NonNullable<Config['backup']>, folder: string): NonNullable<Config['backup']> {
  const destinations = Object.entries(backup.destinations).map(
    ([name, { directory, s3 }]) => [name, directory === undefined ? { s3 } : { directory: resolve(folder, directory) }] as const,
  );
  return {
    ...backup,
    destinations: Object.fromEntries(destinations),
    ...(backup.scriptsDir === undefined ? {} : { scriptsDir: resolve(folder, backup.scriptsDir) }),
  };
}

function withAbsoluteStack(stack: NonNullable<Config['stack']>, folder: string): NonNullable<Config['stack']> {
  const at = (path: string): string => resolve(folder, path);
  return {
    ...stack,
    homeserverConfig: stack.homeserverConfig.map(at),
    ...(stack.masConfig === undefined ? {} : { masConfig: stack.masConfig.map(at) }),
    ...(stack.workingDir === undefined ? {} : { workingDir: at(stack.workingDir) }),
    ...(stack.postgresPrograms === undefined ? {} : { postgresPrograms: at(stack.postgresPrograms) }),
    ...(stack.scratchDir === undefined ? {} : { scratchDir: at(stack.scratchDir) }),
  };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new Failure('config.not-found', { reason: `there is no file ${file}` });
    throw new Failure('config.unreadable', { attempted: `read ${file}`, reason: `it cannot be opened (${code ?? 'unknown'})` });
  }
}
