import type { $ZodType, $ZodTypes } from 'zod/v4/core';
import { z } from 'zod';
import { configSchema } from './schema.ts';

/** One key of the configuration, as its schema declares it. */
export interface ConfigKey {
  /** From the top; `*` stands where the operator chooses the name (`people.*.roles`). */
  path: readonly string[];
  /** A section has fixed keys, a map has keys that the operator chooses, a value has none. */
  kind: 'section' | 'map' | 'value';
  /** What is expected, in words. */
  type: string;
  /** Whether the value is text, so that an environment variable is taken as it stands. */
  text: boolean;
  /** Whether the value is the path of a file that holds a secret. */
  secretFile: boolean;
  required: boolean;
  description: string;
  /** The default as one would write it in the file; undefined when there is none. */
  fallback: unknown;
  example: unknown;
  children: readonly ConfigKey[];
}

/** The whole configuration as a tree; the sample, the reference, the loader and the environment all read this. */
export const outline: ConfigKey = describeKey(configSchema, []);

/** The key that a concrete path (`people.alice.roles`) belongs to, or undefined when there is none. */
export function findKey(path: readonly PropertyKey[], from: ConfigKey = outline): ConfigKey | undefined {
  const [head, ...rest] = path;
  if (head === undefined) return from;
  const child = from.children.find((candidate) => nameOf(candidate) === '*' || nameOf(candidate) === head);
  return child && findKey(rest, child);
}

/** The last part of a key's path. */
export function nameOf(key: ConfigKey): string {
  return key.path.at(-1) ?? '';
}

/** Every key below `key`, depth first. */
export function allKeys(key: ConfigKey = outline): ConfigKey[] {
  return key.children.flatMap((child) => [child, ...allKeys(child)]);
}

/** `STEWARD_HOMESERVER__URL` for `homeserver.url`; the operator's own names stand as `NAME`. */
export function variableName(path: readonly string[]): string {
  return `STEWARD_${path.map((part) => (part === '*' ? 'NAME' : part.toUpperCase())).join('__')}`;
}

function describeKey(schema: $ZodType, path: readonly string[]): ConfigKey {
  const { core, fallback, optional } = unwrap(schema as $ZodTypes);
  const { description = '', example } = z.globalRegistry.get(schema) ?? {};
  const isSecretFile = Boolean(z.globalRegistry.get(core)?.secretFile);
  return {
    path,
    kind: core._zod.def.type === 'object' ? 'section' : core._zod.def.type === 'record' ? 'map' : 'value',
    type: isSecretFile ? 'the path of a readable file' : inWords(core),
    text: ['string', 'enum', 'custom'].includes(core._zod.def.type),
    secretFile: isSecretFile,
    required: !optional && fallback === undefined,
    description,
    fallback,
    example,
    children: childrenOf(core, path),
  };
}

function childrenOf(schema: $ZodTypes, path: readonly string[]): ConfigKey[] {
  const { def } = schema._zod;
  if (def.type === 'object') return Object.entries(def.shape).map(([name, child]) => describeKey(child, [...path, name]));
  if (def.type === 'record') return [describeKey(def.valueType, [...path, '*'])];
  return [];
}

/** Peels defaults, options and transformations off, down to the schema of what is written in the file. */
function unwrap(schema: $ZodTypes): { core: $ZodTypes; fallback: unknown; optional: boolean } {
  const { def } = schema._zod;
  if (def.type === 'default' || def.type === 'prefault') return { ...unwrap(def.innerType as $ZodTypes), fallback: def.defaultValue };
  if (def.type === 'optional') return { ...unwrap(def.innerType as $ZodTypes), optional: true };
  if (def.type === 'pipe') return unwrap(def.in as $ZodTypes);
  return { core: schema, fallback: undefined, optional: false };
}

function inWords(schema: $ZodTypes): string {
  const { def } = schema._zod;
  if (def.type === 'object' || def.type === 'record') return 'keys with values';
  if (def.type === 'array') return `a list of: ${inWords(unwrap(def.element as $ZodTypes).core)}`;
  if (def.type === 'boolean') return 'true or false';
  if (def.type === 'enum') return `one of ${Object.values(def.entries).join(', ')}`;
  if (def.type === 'number') return 'a whole number of at least 1';
  return ownWords(def) ?? (def.checks ?? []).map((check) => ownWords(check._zod.def)).find((words) => words !== undefined) ?? 'text';
}

/** The message that the schema gives a check of its own. */
function ownWords(def: { error?: ((issue: never) => unknown) | undefined }): string | undefined {
  const words = def.error?.({} as never);
  return typeof words === 'string' ? words : undefined;
}
