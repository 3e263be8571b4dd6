import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { DocumentOptions, ParseOptions, SchemaOptions } from 'yaml';
import { z } from 'zod';
import { Failure } from '../failures/failure.ts';
import { isPlainObject } from '../config/document.ts';
import { readYaml, tlsModes, tlsOf, type PostgresSettings, type SynapseConfig } from './synapse-config.ts';

/** What a backup needs of the configuration of Matrix Authentication Service. */
export interface MasConfig {
  configFiles: readonly string[];
  /** A folder of keys that cannot be listed is named itself. */
  secretFiles: readonly string[];
  /** All files right in it are keys. */
  keysDir: string | null;
  database: MasDatabase;
}

export interface MasDatabase extends PostgresSettings {
  /** Of the password, where it is not written in the configuration. */
  passwordFile: string | null;
  /** Why Steward cannot reach it, where the configuration has what it does not take. */
  refused: Failure | null;
}

/** All that is configured on the host; `mas` is what `stack.mas_config` names, which is copied whoever has the accounts. */
export type HostConfig = SynapseConfig & { mas: MasConfig | null };

const shape = z.looseObject({
  database: z.looseObject({
    uri: z.string().optional(),
    host: z.string().optional(),
    socket: z.string().optional(),
    port: z.coerce.number().optional(),
    username: z.string().optional(),
    password: z.string().optional(),
    password_file: z.string().optional(),
    database: z.string().optional(),
    ssl_mode: z.enum(tlsModes).optional(),
    ssl_ca_file: z.string().optional(),
    ssl_certificate_file: z.string().optional(),
    ssl_key_file: z.string().optional(),
    ssl_ca: z.string().optional(),
    ssl_certificate: z.string().optional(),
    ssl_key: z.string().optional(),
  }),
  secrets: z.looseObject({ keys_dir: z.string().optional() }).optional(),
});

/** As MAS reads it: `yes` is a text, and so is a number with a leading zero; an integer is as long as it is. */
export const asSerdeYaml: ParseOptions & DocumentOptions & SchemaOptions = {
  version: '1.2',
  intAsBigInt: true,
  customTags: (tags) =>
    tags.map((tag) =>
      typeof tag === 'object' && tag.collection === undefined && tag.tag === 'tag:yaml.org,2002:int' && tag.format === undefined
        ? { ...tag, test: /^[-+]?(?:0|[1-9][0-9]*)$/ }
        : tag,
    ),
};

/** Sections whose files are certificates, programs and texts: they belong to the operator, or to the release. */
const noSecrets = new Set(['http', 'policy', 'templates', 'telemetry']);

/**
 * Reads the files that MAS is given by `--config`, in order: maps are merged, what is named again later replaces the rest. Relative
 * paths start at the folder of the first.
 *
 * @throws Failure `stack.config-unreadable`
 */
export async function readMasConfig(paths: readonly string[]): Promise<MasConfig> {
  const attempted = `read the configuration of Matrix Authentication Service (${paths.join(', ')})`;
  const hint = 'May Steward read it? Is `stack.mas_config` what MAS is given by `--config`?';
  const refuse = (reason: string): Failure => new Failure('stack.config-unreadable', { attempted, reason, hint });
  let tree: Record<string, unknown> = {};
  for (const path of paths) tree = merged(tree, await readYaml(path, asSerdeYaml, hint));
  const parsed = shape.safeParse(tree);
  if (!parsed.success) throw refuse(`its key \`${parsed.error.issues[0]?.path.join('.') ?? ''}\` is not what MAS takes`);
  const at = (path: string): string => resolve(dirname(paths[0] ?? '.'), path);
  const { database, secrets } = parsed.data;
  const keysDir = secrets?.keys_dir === undefined ? null : at(secrets.keys_dir);
  return {
    configFiles: paths,
    secretFiles: [
      ...filesIn(Object.fromEntries(Object.entries(tree).filter(([key]) => !noSecrets.has(key)))).map(at),
      ...(keysDir === null ? [] : await filesOf(keysDir)),
    ],
    keysDir,
    database: placeOf(database, at, refuse),
  };
}

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => null);
  return entries === null ? [folder] : entries.filter((entry) => !entry.isDirectory()).map(({ name }) => join(folder, name));
}

function placeOf(
  given: z.output<typeof shape>['database'],
  at: (path: string) => string,
  refuse: (reason: string) => Failure,
): MasDatabase {
  const { uri, host, socket, port, username, password, password_file: file, database } = given;
  const url = uri === undefined ? null : URL.parse(uri);
  if (uri !== undefined && (url === null || !/^postgres(ql)?:$/.test(url.protocol)))
    throw refuse('its `database.uri` is none of PostgreSQL');
  const part = (text: string | undefined): string | undefined => (text === undefined || text === '' ? undefined : decodeURIComponent(text));
  const param = (key: string): string | undefined => url?.searchParams.get(key) || undefined;
  const user = username ?? part(url?.username) ?? part(param('user'));
  const name = database ?? part(url?.pathname.slice(1)) ?? part(param('dbname')) ?? user;
  if (user === undefined || name === undefined) throw refuse('its `database` names no role');
  const inline = (['ssl_ca', 'ssl_certificate', 'ssl_key'] as const).find((key) => given[key] !== undefined);
  return {
    kind: 'postgres',
    host: socket ?? host ?? part(url?.hostname) ?? part(param('host')) ?? '/var/run/postgresql',
    port: port ?? Number(part(url?.port) ?? 5432),
    user,
    name,
    password: password ?? (file === undefined ? (part(url?.password) ?? null) : null),
    passwordFile: password === undefined && file !== undefined ? at(file) : null,
    refused: inline === undefined ? null : refuse(`\`database.${inline}\` is written in it; name a file by \`${inline}_file\``),
    options: param('options'),
    tls: tlsOf(
      {
        mode: given.ssl_mode ?? tlsModes.find((mode) => mode === param('sslmode')) ?? 'prefer',
        rootCert: given.ssl_ca_file ?? param('sslrootcert'),
        cert: given.ssl_certificate_file ?? param('sslcert'),
        key: given.ssl_key_file ?? param('sslkey'),
      },
      at,
    ),
  };
}

function merged(base: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  const both = Object.entries(over).map(([key, value]): [string, unknown] => {
    const below = base[key];
    return [key, isPlainObject(below) && isPlainObject(value) ? merged(below, value) : value];
  });
  return { ...base, ...Object.fromEntries(both) };
}

/** Values of keys such as `secret_file`, but for those of TLS. */
function filesIn(tree: unknown): string[] {
  if (typeof tree !== 'object' || tree === null) return [];
  return Object.entries(tree).flatMap(([key, value]: [string, unknown]) =>
    typeof value === 'string' && value !== '' && key.endsWith('_file') && !key.startsWith('ssl_') ? [value] : filesIn(value),
  );
}
