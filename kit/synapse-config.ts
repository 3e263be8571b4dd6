import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { Database } from './postgres.ts';

export interface ConfigOptions {
  dir: string;
  port: number;
  serverName: string;
  database: { sqlite: string } | Database;
  rateLimits: 'off' | 'default';
  /** Merged over the rest, key by key. */
  extra: Record<string, unknown>;
}

/** Where things are in a data folder. */
export function paths(dir: string) {
  return {
    config: join(dir, 'homeserver.yaml'),
    database: join(dir, 'homeserver.db'),
    log: join(dir, 'homeserver.log'),
    logConfig: join(dir, 'log.yaml'),
    media: join(dir, 'media_store'),
    signingKey: join(dir, 'signing.key'),
    sharedSecret: join(dir, 'registration_shared_secret'),
    macaroonSecret: join(dir, 'macaroon_secret_key'),
    formSecret: join(dir, 'form_secret'),
  };
}

/** Writes homeserver.yaml anew, and the keys and secrets beside it that are not there yet. */
export async function writeConfig(options: ConfigOptions): Promise<void> {
  const at = paths(options.dir);
  await mkdir(at.media, { recursive: true });
  for (const secret of [at.sharedSecret, at.macaroonSecret, at.formSecret]) await writeOnce(secret, randomBytes(32).toString('hex'));
  await writeOnce(at.signingKey, `ed25519 a_kit ${randomBytes(32).toString('base64').replace('=', '')}\n`);
  await writeFile(at.logConfig, stringify(LOGGING));
  await writeFile(at.config, stringify(merged(homeserver(options), options.extra)), { mode: 0o600 });
}

/** What must not change in a data folder that is used again. */
export async function readConfig(dir: string): Promise<{ serverName: string; port: number } | null> {
  const { config } = paths(dir);
  if (!existsSync(config)) return null;
  const { server_name, listeners } = parse(await readFile(config, 'utf8'));
  return { serverName: server_name, port: listeners[0].port };
}

async function writeOnce(path: string, content: string): Promise<void> {
  if (!existsSync(path)) await writeFile(path, content, { mode: 0o600 });
}

function homeserver({ dir, port, serverName, database, rateLimits }: ConfigOptions): Record<string, unknown> {
  const at = paths(dir);
  return {
    server_name: serverName,
    public_baseurl: `http://127.0.0.1:${port}/`,
    listeners: [
      {
        port,
        type: 'http',
        tls: false,
        bind_addresses: ['127.0.0.1'],
        x_forwarded: true,
        resources: [{ names: ['client'], compress: false }],
      },
    ],
    database:
      'sqlite' in database
        ? { name: 'sqlite3', args: { database: database.sqlite } }
        : {
            name: 'psycopg2',
            args: {
              host: database.host,
              port: database.port,
              user: database.user,
              password: database.password,
              dbname: database.name,
              cp_min: 2,
              cp_max: 8,
            },
          },
    log_config: at.logConfig,
    media_store_path: at.media,
    signing_key_path: at.signingKey,
    registration_shared_secret_path: at.sharedSecret,
    macaroon_secret_key_path: at.macaroonSecret,
    form_secret_path: at.formSecret,
    report_stats: false,
    presence: { enabled: false },
    bcrypt_rounds: 4,
    background_updates: { sleep_enabled: false }, // a new schema is complete at once instead of after a minute
    // no other server is ever asked or told
    trusted_key_servers: [],
    federation_domain_whitelist: [],
    ...(rateLimits === 'off' ? NO_LIMITS : {}),
  };
}

const LOGGING = {
  version: 1,
  formatters: { line: { format: '%(asctime)s %(levelname)s %(name)s - %(request)s - %(message)s' } },
  filters: { context: { '()': 'synapse.logging.context.LoggingContextFilter', request: '' } },
  handlers: { stderr: { class: 'logging.StreamHandler', formatter: 'line', filters: ['context'] } },
  loggers: { 'synapse.storage.SQL': { level: 'INFO' } },
  root: { level: 'INFO', handlers: ['stderr'] },
  disable_existing_loggers: false,
};

const MANY = { per_second: 100_000, burst_count: 100_000 };
const NO_LIMITS = {
  rc_message: MANY,
  rc_registration: MANY,
  rc_registration_token_validity: MANY,
  rc_login: { address: MANY, account: MANY, failed_attempts: MANY },
  rc_admin_redaction: MANY,
  rc_joins: { local: MANY, remote: MANY },
  rc_joins_per_room: MANY,
  rc_key_requests: MANY,
  rc_3pid_validation: MANY,
  rc_invites: { per_room: MANY, per_user: MANY, per_issuer: MANY },
  rc_third_party_invite: MANY,
  rc_media_create: MANY,
  rc_presence: { per_user: MANY },
  rc_delayed_event_mgmt: MANY,
  rc_room_creation: MANY,
  rc_reports: MANY,
  rc_user_directory: MANY,
  rc_profile: MANY,
};

function merged(base: Record<string, unknown>, extra: Record<string, unknown>): Record<string, unknown> {
  const result = { ...base };
  for (const [key, value] of Object.entries(extra)) {
    const below = result[key];
    result[key] = isObject(below) && isObject(value) ? merged(below, value) : value;
  }
  return result;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
