import { parse } from 'yaml';
import { isPlainObject } from './document.ts';
import { nearestOf, type ConfigMistake } from './mistake.ts';
import { allKeys, outline, variableName, type ConfigKey } from './outline.ts';

export interface Override {
  variable: string;
  path: readonly string[];
  value: unknown;
}

/** Variables that say where the configuration is, or what a test wants, rather than what is in it. */
const reserved = ['STEWARD_CONFIG', 'STEWARD_CRASH_AT'];

/** Kubernetes sets these for a Service that is named steward. */
const serviceLink = /^STEWARD_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/;

/**
 * The keys that the environment sets: `STEWARD_HOMESERVER__URL=…` is `homeserver.url`. Text is taken as it stands, other
 * values are read as YAML (`STEWARD_ROOM__BARE_PREFIX=false`). `tree` is the file's content, for the names in its maps.
 */
export function readEnvironment(
  env: NodeJS.ProcessEnv,
  tree: Record<string, unknown>,
): { overrides: Override[]; mistakes: ConfigMistake[] } {
  const overrides: Override[] = [];
  const mistakes: ConfigMistake[] = [];
  for (const variable of Object.keys(env)
    .filter((name) => name.startsWith('STEWARD_'))
    .sort()) {
    if (reserved.includes(variable) || serviceLink.test(variable)) continue;
    const match = resolve(variable.slice('STEWARD_'.length).split('__'), outline, tree, []);
    if (match === undefined) {
      mistakes.push({
        source: variable,
        key: '',
        expected: 'a variable that names a key',
        found: 'an unknown one',
        ...nearestVariable(variable),
      });
      continue;
    }
    const text = env[variable] ?? '';
    try {
      overrides.push({ variable, path: match.path, value: match.key.text ? text : (parse(text) as unknown) });
    } catch {
      mistakes.push({
        source: variable,
        key: '',
        expected: match.key.type,
        found: 'text that is not YAML',
        hint: `write a list as '["a", "b"]'`,
      });
    }
  }
  return { overrides, mistakes };
}

/** The tree with the overrides put in; the given tree is left as it is. */
export function applyOverrides(tree: Record<string, unknown>, overrides: readonly Override[]): Record<string, unknown> {
  return overrides.reduce((merged, { path, value }) => withValue(merged, path, value), tree);
}

function withValue(tree: Record<string, unknown>, path: readonly string[], value: unknown): Record<string, unknown> {
  const [head, ...rest] = path;
  if (head === undefined) return tree;
  const child = tree[head];
  return { ...tree, [head]: rest.length === 0 ? value : withValue(isPlainObject(child) ? child : {}, rest, value) };
}

function resolve(
  parts: readonly string[],
  key: ConfigKey,
  tree: unknown,
  path: readonly string[],
): { key: ConfigKey; path: readonly string[] } | undefined {
  const [head, ...rest] = parts;
  if (head === undefined) return { key, path };
  if (head === '') return undefined;
  const here = isPlainObject(tree) ? tree : {};
  const known = key.kind === 'map' ? Object.keys(here) : key.children.map((child) => child.path.at(-1) ?? '');
  const name = known.find((candidate) => candidate.toUpperCase() === head) ?? (key.kind === 'map' ? head.toLowerCase() : undefined);
  const child =
    name === undefined ? undefined : key.children.find((candidate) => candidate.path.at(-1) === (key.kind === 'map' ? '*' : name));
  return name === undefined || child === undefined ? undefined : resolve(rest, child, here[name], [...path, name]);
}

function nearestVariable(variable: string): { nearest?: string } {
  const nearest = nearestOf(variable, [...allKeys().map((key) => variableName(key.path)), ...reserved]);
  return nearest === undefined ? {} : { nearest };
}
