import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parse, type DocumentOptions, type ParseOptions, type SchemaOptions } from 'yaml';
import { z } from 'zod';
import { isPlainObject } from '../config/document.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { SqlitePlace } from './stack.ts';

/** Of Synapse's database section, what is needed to reach it. The password is for whoever connects, and goes nowhere else. */
export interface PostgresSettings {
  kind: 'postgres';
  host: string;
  port: number;
  name: string;
  user: string;
  password: string | null;
  /** Settings of each connection, as libpq takes them. */
  options: string | undefined;
  tls: TlsSettings;
}

export const tlsModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

/** libpq's sslmode, sslrootcert, sslcert and sslkey; paths are absolute. */
export interface TlsSettings {
  mode: (typeof tlsModes)[number];
  rootCert?: string | undefined;
  cert?: string | undefined;
  key?: string | undefined;
}

export interface SynapseConfig {
  serverName: string;
  database: PostgresSettings | SqlitePlace;
  mediaPath: string;
  storageProviders: readonly string[];
  signingKeyPath: string;
  configFiles: readonly string[];
  includedFiles: readonly string[];
  secretFiles: readonly string[];
  /** `registration_shared_secret`, or the file that holds it. */
  registration: { secret: Secret } | { path: string } | null;
  /** Null where the homeserver has its accounts itself; `shared` is null where no secret of the two is named. */
  delegation: { shared: { endpoint: string; secret: { secret: Secret } | { path: string } } | null } | null;
}

/** As PyYAML reads it: `yes` is true, an integer is as long as it is, and `1e5` is a text. */
export const asPyYaml: ParseOptions & DocumentOptions & SchemaOptions = {
  version: '1.1',
  intAsBigInt: true,
  customTags: (tags) => tags.filter((tag) => typeof tag === 'string' || tag.tag !== 'tag:yaml.org,2002:float' || tag.format !== 'EXP'),
};

const text = z.string().min(1);
/** To libpq, what is empty is not set; templates write such. */
const setOnly = (args: unknown): unknown =>
  isPlainObject(args) ? Object.fromEntries(Object.entries(args).filter(([, value]) => value !== null && value !== '')) : args;
const arguments_ = z.preprocess(
  setOnly,
  z.looseObject({
    host: z.string().optional(),
    port: z.coerce.number().optional(),
    user: z.string().optional(),
    password: z.union([z.string(), z.number(), z.bigint()]).optional(),
    dbname: z.string().optional(),
    options: z.string().optional(),
    sslmode: z.enum(tlsModes).default('prefer'),
    sslrootcert: z.string().optional(),
    sslcert: z.string().optional(),
    sslkey: z.string().optional(),
    database: z.string().optional(),
  }),
);
const databaseShape = z.looseObject({ name: z.string(), args: arguments_.prefault({}) });
const shape = z.looseObject({
  server_name: text,
  database: databaseShape.optional(),
  databases: z.record(z.string(), databaseShape).optional(),
  database_path: z.string().optional(),
  media_store_path: text.default('media_store'),
  media_storage_providers: z.array(z.looseObject({ module: z.string() })).nullish(),
  signing_key_path: z.string().optional(),
  log_config: z.string().nullish(),
  app_service_config_files: z.array(z.string()).nullish(),
  registration_shared_secret: z.string().nullish(),
  registration_shared_secret_path: z.string().nullish(),
  matrix_authentication_service: z
    .looseObject({
      enabled: z.boolean().default(false),
      endpoint: z.string().default('http://localhost:8080'),
      secret: z.string().nullish(),
      secret_path: z.string().nullish(),
    })
    .nullish(),
  experimental_features: z.looseObject({ msc3861: z.looseObject({ enabled: z.boolean().nullish() }).nullish() }).nullish(),
});

/** Keys of homeserver.yaml that name a file with a secret: they end so, but for these, which hold none or belong to the operator. */
const secretKey = /_(path|file)$/;
const noSecret = new Set([
  'media_store_path',
  'signing_key_path',
  'tls_certificate_path',
  'tls_private_key_path',
  'database_path',
  'pid_file',
]);

/**
 * Reads homeserver.yaml as Synapse does: all paths that it is given by `-c`, in order, a folder as its *.yaml files sorted;
 * later files replace whole sections of earlier ones. Relative paths in it start at `workingDir`.
 *
 * @throws Failure `stack.config-unreadable`
 */
export async function readSynapseConfig(paths: readonly string[], workingDir: string): Promise<SynapseConfig> {
  const configFiles = (await Promise.all(paths.map(filesOf))).flat();
  const merged: Record<string, unknown> = {};
  for (const file of configFiles) Object.assign(merged, await readYaml(file, asPyYaml));
  const attempted = `read the homeserver's configuration (${configFiles.join(', ')})`;
  const parsed = shape.safeParse(merged);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Failure('stack.config-unreadable', {
      attempted,
      reason: `its key \`${issue?.path.join('.') ?? ''}\` is not what Synapse takes: ${issue?.message ?? ''}`,
    });
  }
  const config = parsed.data;
  const at = (path: string): string => resolve(workingDir, path);
  const configDir = dirname(configFiles.at(-1) ?? '.');
  return {
    serverName: config.server_name,
    database: databaseOf(config, at, attempted),
    mediaPath: at(config.media_store_path),
    storageProviders: (config.media_storage_providers ?? []).map(({ module }) => module),
    signingKeyPath:
      config.signing_key_path === undefined ? join(configDir, `${config.server_name}.signing.key`) : at(config.signing_key_path),
    configFiles,
    includedFiles: [...(typeof config.log_config === 'string' ? [config.log_config] : []), ...(config.app_service_config_files ?? [])].map(
      at,
    ),
    secretFiles: secretFilesIn(merged).map(at),
    registration: secretOf(config.registration_shared_secret, config.registration_shared_secret_path, at),
    delegation: delegationOf(config, at),
  };
}

function secretOf(
  secret: string | null | undefined,
  path: string | null | undefined,
  at: (path: string) => string,
): { secret: Secret } | { path: string } | null {
  if (secret != null) return { secret: new Secret(secret) };
  return path == null ? null : { path: at(path) };
}

function delegationOf(
  { matrix_authentication_service: service, experimental_features: experiments }: z.output<typeof shape>,
  at: (path: string) => string,
): SynapseConfig['delegation'] {
  if (service?.enabled !== true) return experiments?.msc3861?.enabled === true ? { shared: null } : null;
  const secret = secretOf(service.secret, service.secret_path, at);
  return { shared: secret === null ? null : { endpoint: service.endpoint, secret } };
}

async function filesOf(path: string): Promise<string[]> {
  const stats = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  if (!stats.isDirectory()) return [path];
  const entries = await readdir(path, { withFileTypes: true });
  const names = entries.filter((entry) => entry.name.endsWith('.yaml') && !entry.isDirectory()).map((entry) => entry.name);
  // Python sorts by code point.
  return names.sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other))).map((name) => join(path, name));
}

export async function readYaml(
  path: string,
  options: ParseOptions & DocumentOptions & SchemaOptions,
  hint?: string,
): Promise<Record<string, unknown>> {
  try {
    const tree: unknown = parse(await readFile(path, 'utf8'), options);
    return typeof tree === 'object' && tree !== null && !Array.isArray(tree) ? (tree as Record<string, unknown>) : {};
  } catch (error) {
    throw unreadable(path, error, hint);
  }
}

/** The parser's own message quotes the line, which may hold a secret. */
function unreadable(path: string, error: unknown, hint?: string): Failure {
  const { code } = error as NodeJS.ErrnoException;
  return new Failure('stack.config-unreadable', {
    attempted: `read ${path}`,
    reason: code?.startsWith('E') === true ? `it cannot be opened (${code})` : 'it is no YAML',
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}

function databaseOf(
  { database, databases, database_path: path }: z.output<typeof shape>,
  at: (path: string) => string,
  attempted: string,
): PostgresSettings | SqlitePlace {
  const several = Object.keys(databases ?? {}).length;
  if (several > 1)
    throw new Failure('stack.config-unreadable', {
      attempted,
      reason: `it spreads the data over ${several} databases, which Steward does not know how to copy at one instant`,
    });
  const only = database ?? Object.values(databases ?? {})[0];
  if (path !== undefined) return { kind: 'sqlite', path: at(path) };
  if (only === undefined) throw new Failure('stack.config-unreadable', { attempted, reason: 'it names no database' });
  const { args } = only;
  if (only.name === 'sqlite3') return { kind: 'sqlite', path: at(args.database ?? 'homeserver.db') };
  if (only.name !== 'psycopg2')
    throw new Failure('stack.config-unreadable', { attempted, reason: `its database is of the kind ${only.name}` });
  const user = args.user ?? 'synapse';
  return {
    kind: 'postgres',
    // Without a host libpq takes the socket in this folder (Debian's).
    host: args.host ?? '/var/run/postgresql',
    port: args.port ?? 5432,
    user,
    name: args.dbname ?? args.database ?? user,
    password: args.password === undefined ? null : String(args.password),
    options: args.options,
    tls: tlsOf({ mode: args.sslmode, rootCert: args.sslrootcert, cert: args.sslcert, key: args.sslkey }, at),
  };
}

/** `system` is a word of libpq's, for the machine's own root certificates. */
export function tlsOf({ mode, rootCert, cert, key }: TlsSettings, at: (path: string) => string): TlsSettings {
  const placed = (path: string | undefined): string | undefined => (path === undefined || path === 'system' ? path : at(path));
  return { mode, rootCert: placed(rootCert), cert: placed(cert), key: placed(key) };
}

function secretFilesIn(tree: unknown): string[] {
  if (typeof tree !== 'object' || tree === null) return [];
  return Object.entries(tree).flatMap(([key, value]: [string, unknown]) =>
    typeof value === 'string' && value !== '' && secretKey.test(key) && !noSecret.has(key) ? [value] : secretFilesIn(value),
  );
}
