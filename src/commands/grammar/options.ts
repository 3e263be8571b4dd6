import { z } from 'zod';
import type { Command } from '../define.ts';

/** One argument of a command as the parser, help, docs and completion see it. */
export interface Option {
  /** Key of the arguments object: `displayName`. */
  key: string;
  /** As it is typed, without dashes: `display-name`. */
  flag: string;
  alias: string | undefined;
  positional: number | undefined;
  type: 'boolean' | 'string' | 'strings';
  required: boolean;
  /** What help calls the value: `USER`. */
  value: string;
  choices: readonly string[] | undefined;
  defaultValue: unknown;
  description: string;
}

/** Options that commands of one kind share; what they do is decided where a command is dispatched. */
export const sharedArgs = {
  help: z.boolean().default(false).describe('Show the help of the command.'),
  wide: z.boolean().default(false).describe('Tables as wide as they are, for a desk.'),
  json: z.boolean().default(false).describe('The result as JSON, in a file.'),
  csv: z.boolean().default(false).describe('The result as CSV, in a file.'),
  dryRun: z.boolean().default(false).describe('Show what would change, and change nothing.'),
  yes: z.boolean().default(false).describe('Confirm at once what the requester may confirm alone.').meta({ alias: 'y' }),
} as const;

export type SharedKey = keyof typeof sharedArgs;

const sharedByKind: Record<Command['kind'], readonly SharedKey[]> = {
  read: ['json', 'csv', 'wide', 'help'],
  list: ['json', 'csv', 'wide', 'help'],
  write: ['dryRun', 'yes', 'json', 'help'],
};

export function ownOptions(command: Command): Option[] {
  return Object.entries((command.args as z.ZodObject).shape as Record<string, z.ZodType>).map(([key, schema]) => describe(key, schema));
}

export function sharedOptions(command: Command): Option[] {
  return sharedByKind[command.kind].map((key) => describe(key, sharedArgs[key]));
}

function describe(key: string, schema: z.ZodType): Option {
  const meta = schema.meta() ?? {};
  const inner = unwrap(schema);
  const accepts = schema.safeParse(undefined);
  const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return {
    key,
    flag,
    alias: meta.alias,
    positional: meta.positional,
    type: inner instanceof z.ZodBoolean ? 'boolean' : inner instanceof z.ZodArray ? 'strings' : 'string',
    required: !accepts.success,
    value: meta.value ?? flag.toUpperCase(),
    choices: inner instanceof z.ZodEnum ? inner.options.map(String) : undefined,
    defaultValue: accepts.success ? accepts.data : undefined,
    description: meta.description ?? '',
  };
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable
  )
    return unwrap(schema.unwrap());
  if (schema instanceof z.ZodPipe) return unwrap(schema.in);
  return schema;
}
