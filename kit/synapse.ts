import { createHash, createHmac, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { cached, type Progress, toStderr } from './cache.ts';
import { ensureDebian } from './debian.ts';
import { type Database, sql } from './postgres.ts';
import { type Child, freePort, isFree, run, startChild, waitUntilReady } from './process.ts';
import { paths, readConfig, writeConfig } from './synapse-config.ts';

const REQUIREMENTS = join(import.meta.dirname, 'synapse-requirements.txt');

export interface SynapseOptions {
  /** Data folder; one that exists is used again, with its keys, database and port. Default: a new one in the system's folder for temporary files. */
  dir?: string;
  /** Default: a file in the data folder. */
  database?: 'sqlite' | { postgres: Database };
  /** On 127.0.0.1. Default: the data folder's last one, or a free one. */
  port?: number;
  /** Default `steward.test`. */
  serverName?: string;
  /** Merged over homeserver.yaml, key by key. */
  config?: Record<string, unknown>;
  /** Default `off`: nothing in a test waits for a limit. */
  rateLimits?: 'off' | 'default';
}

export interface Registration {
  localpart: string;
  /** Default: a random one. */
  password?: string;
  admin?: boolean;
  displayname?: string;
}

export interface Account {
  userId: string;
  accessToken: string;
  deviceId: string;
  password: string;
}

export interface Synapse {
  /** `http://127.0.0.1:PORT`, the same after each start. */
  readonly url: string;
  readonly port: number;
  readonly serverName: string;
  readonly dir: string;
  readonly configPath: string;
  readonly logPath: string;
  /** The SQLite file; null on PostgreSQL. */
  readonly databasePath: string | null;
  readonly mediaPath: string;
  readonly registrationSharedSecretPath: string;
  readonly registrationSharedSecret: string;
  readonly isRunning: boolean;
  /** Its process id, or null while it does not run. */
  readonly pid: number | null;
  /** Makes an account by the shared secret. Errors: Synapse's answer, such as `M_USER_IN_USE`. */
  register(registration: Registration): Promise<Account>;
  /** Starts it again with homeserver.yaml as it is now. Does nothing when it runs. */
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** Ends it for good; a data folder that was not given goes too. */
  dispose(): Promise<void>;
}

/**
 * Path of a Python that has Synapse and what it needs, as pinned in synapse-requirements.txt; installed when missing (run its programs by `-m`).
 * Errors: MissingPart; pip's own.
 */
export async function ensureSynapse(progress: Progress = toStderr): Promise<string> {
  const canMakeVenv = () =>
    run(['python3', '-c', 'import ensurepip, venv']).then(
      () => true,
      () => false,
    );
  await ensureDebian(['python3', 'python3-venv'], canMakeVenv, progress);
  const python = await run(['python3', '--version']);
  const key = createHash('sha256')
    .update(python)
    .update(await readFile(REQUIREMENTS))
    .digest('hex')
    .slice(0, 12);
  const venv = await cached(`synapse-${key}`, async (path) => {
    const begin = performance.now();
    progress('installing Synapse into a Python environment of its own (once, about 40 s)');
    await run(['python3', '-m', 'venv', path]);
    const pip = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--no-input',
      '--disable-pip-version-check',
      '--no-deps',
      '--only-binary=:all:',
      '-r',
      REQUIREMENTS,
    ];
    await run([join(path, 'bin', 'python'), ...pip]);
    progress(`Synapse is there (${((performance.now() - begin) / 1000).toFixed(0)} s)`);
  });
  return join(venv, 'bin', 'python');
}

/** Starts a Synapse on loopback that talks to no other server, and waits until it answers. Errors: with the end of its log. */
export async function startSynapse(options: SynapseOptions = {}): Promise<Synapse> {
  const python = await ensureSynapse();
  const dir = options.dir === undefined ? await mkdtemp(join(tmpdir(), 'steward-synapse-')) : resolve(options.dir);
  await mkdir(dir, { recursive: true });
  const before = await readConfig(dir);
  const serverName = options.serverName ?? before?.serverName ?? 'steward.test';
  if (before !== null && before.serverName !== serverName)
    throw new Error(`${dir} belongs to the server ${before.serverName}, not ${serverName}`);
  const port = options.port ?? (before !== null && (await isFree(before.port)) ? before.port : await freePort());
  const { database = 'sqlite', config: extra = {}, rateLimits = 'off' } = options;
  const at = paths(dir);
  await writeConfig({
    dir,
    port,
    serverName,
    rateLimits,
    extra,
    database: database === 'sqlite' ? { sqlite: at.database } : database.postgres,
  });

  const url = `http://127.0.0.1:${port}`;
  const registrationSharedSecret = (await readFile(at.sharedSecret, 'utf8')).trim();
  let child: Child | null = null;

  const synapse: Synapse = {
    url,
    port,
    serverName,
    dir,
    configPath: at.config,
    logPath: at.log,
    databasePath: database === 'sqlite' ? at.database : null,
    mediaPath: at.media,
    registrationSharedSecretPath: at.sharedSecret,
    registrationSharedSecret,
    get isRunning() {
      return child?.isRunning ?? false;
    },
    get pid() {
      return child?.isRunning === true ? child.pid : null;
    },
    register: (registration) => register(url, registrationSharedSecret, registration),
    async start() {
      if (child?.isRunning) return;
      child = await startChild({
        command: [python, '-m', 'synapse.app.homeserver', '--config-path', at.config],
        logPath: at.log,
        cwd: dir,
      });
      await waitUntilReady('Synapse', child, at.log, async () => (await fetch(`${url}/health`)).ok);
    },
    stop: async () => await child?.stop(),
    kill: async () => await child?.kill(),
    async restart() {
      await synapse.stop();
      await synapse.start();
    },
    async dispose() {
      await synapse.kill();
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
  await synapse.start();
  await waitUntilReady('Synapse', child as unknown as Child, at.log, () =>
    schemaIsComplete(database === 'sqlite' ? at.database : database.postgres),
  );
  return synapse;
}

/** Background updates finish a new schema; before they have, some writes answer 500. */
async function schemaIsComplete(database: string | Database): Promise<boolean> {
  const query = 'SELECT count(*) AS count FROM background_updates';
  if (typeof database !== 'string') return (await sql(database, query)).trim() === '0';
  const file = new DatabaseSync(database, { readOnly: true });
  try {
    return file.prepare(query).get()?.['count'] === 0;
  } finally {
    file.close();
  }
}

/** Synapse's shared-secret registration: the MAC covers nonce, name, password and role. */
async function register(
  url: string,
  secret: string,
  { localpart, password = randomBytes(16).toString('hex'), admin = false, displayname }: Registration,
): Promise<Account> {
  const endpoint = `${url}/_synapse/admin/v1/register`;
  const { nonce } = (await answer(await fetch(endpoint))) as { nonce: string };
  const mac = createHmac('sha1', secret)
    .update([nonce, localpart, password, admin ? 'admin' : 'notadmin'].join('\0'))
    .digest('hex');
  const body = JSON.stringify({ nonce, username: localpart, password, admin, mac, displayname });
  const made = await answer(await fetch(endpoint, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }));
  const { user_id, access_token, device_id } = made as { user_id: string; access_token: string; device_id: string };
  return { userId: user_id, accessToken: access_token, deviceId: device_id, password };
}

async function answer(response: Response): Promise<unknown> {
  const text = await response.text();
  if (!response.ok) throw new Error(`registration: ${response.status} ${text}`);
  return JSON.parse(text);
}
