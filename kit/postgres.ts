import { randomBytes } from 'node:crypto';
import { existsSync, globSync } from 'node:fs';
import { chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { type Progress, toStderr } from './cache.ts';
import { ensureDebian } from './debian.ts';
import { asUser, type Child, freePort, isFree, run, startChild, type User, waitUntilReady } from './process.ts';

/** What one needs to reach a database, over TCP and scram. */
export interface Database {
  host: string;
  port: number;
  name: string;
  user: string;
  password: string;
}

export interface PostgresOptions {
  /** Data folder; one that exists is used again. Default: a new one in the system's folder for temporary files. */
  dir?: string;
  /** Whether a power cut must lose nothing (fsync on), as a bench wants it. Default false. */
  durable?: boolean;
}

export interface Postgres {
  readonly host: string;
  readonly port: number;
  readonly dir: string;
  readonly logPath: string;
  /** Folder of the unix socket; scram holds there too. */
  readonly socketDir: string;
  /** Folder of `pg_dump`, `psql` and so on, of the server's version. */
  readonly programs: string;
  readonly superuser: Database;
  readonly isRunning: boolean;
  /** A role without superuser and CREATEDB, unless `createdb`, with a new random password, which is returned. May be called again. */
  createRole(name: string, options?: { createdb?: boolean }): Promise<string>;
  /** A UTF-8 database with locale C and its owner, a role as above (default: of the database's name). May be called again: the data stay, the password is new. */
  createDatabase(options: { name: string; owner?: string }): Promise<Database>;
  /** Starts it again on the same data and port. Does nothing when it runs. */
  start(): Promise<void>;
  /** Ends it, cutting off its clients. */
  stop(): Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** Ends it for good; a data folder that was not given goes too. */
  dispose(): Promise<void>;
}

/** Folder of the newest PostgreSQL server's programs, installed when missing. Errors: MissingPart. */
export async function ensurePostgres(progress: Progress = toStderr): Promise<string> {
  if (findPrograms() === null) await keepDebianFromStartingOne();
  await ensureDebian(['postgresql'], () => findPrograms() !== null, progress);
  return findPrograms() as string;
}

function findPrograms(): string | null {
  const major = (path: string) => Number(path.split('/')[4]);
  const [newest] = globSync('/usr/lib/postgresql/*/bin/initdb').sort((a, b) => major(b) - major(a));
  if (newest !== undefined) return dirname(newest);
  return (process.env['PATH'] ?? '').split(':').find((folder) => existsSync(join(folder, 'initdb'))) ?? null;
}

/** Debian's package makes and starts a cluster of its own unless this file says otherwise. */
async function keepDebianFromStartingOne(): Promise<void> {
  const path = '/etc/postgresql-common/createcluster.conf';
  if (process.getuid?.() !== 0 || existsSync(path)) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, 'create_main_cluster = false\n');
}

/** Starts a PostgreSQL of its own on loopback, scram everywhere, and waits until it answers. Errors: with the end of its log. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  const programs = await ensurePostgres();
  const program = (name: string) => join(programs, name);
  const user = await unprivileged();
  const dir = options.dir === undefined ? await mkdtemp(join(tmpdir(), 'steward-postgres-')) : resolve(options.dir);
  const at = {
    data: join(dir, 'data'),
    log: join(dir, 'postgres.log'),
    password: join(dir, 'superuser_password'),
    port: join(dir, 'port'),
  };
  await mkdir(dir, { recursive: true, mode: 0o700 });
  if (user) await chown(dir, user.uid, user.gid);
  await run(asUser(user, ['test', '-w', dir])).catch(() => {
    throw new Error(
      `PostgreSQL refuses to run as root, and the user it runs as cannot reach ${dir}: choose a folder that everybody may enter`,
    );
  });

  if (!existsSync(at.data)) await initialise(program('initdb'), user, at);
  const port = await portFor(at.port);
  const host = '127.0.0.1';
  const superuser: Database = { host, port, name: 'postgres', user: 'postgres', password: await readFile(at.password, 'utf8') };
  const settings = {
    listen_addresses: host,
    port,
    unix_socket_directories: dir,
    ...(!options.durable && { fsync: 'off', full_page_writes: 'off' }),
  };
  let child: Child | null = null;

  const postgres: Postgres = {
    host,
    port,
    dir,
    logPath: at.log,
    socketDir: dir,
    programs,
    superuser,
    get isRunning() {
      return child?.isRunning ?? false;
    },
    async createRole(name, { createdb = false } = {}) {
      const password = randomBytes(16).toString('hex');
      const exists = await sql(superuser, `SELECT 1 FROM pg_roles WHERE rolname = ${literal(name)}`);
      const rights = `LOGIN NOSUPERUSER NOCREATEROLE ${createdb ? 'CREATEDB' : 'NOCREATEDB'} PASSWORD ${literal(password)}`;
      await sql(superuser, `${exists ? 'ALTER' : 'CREATE'} ROLE ${identifier(name)} ${rights}`);
      return password;
    },
    async createDatabase({ name, owner = name }) {
      const password = await postgres.createRole(owner);
      const exists = await sql(superuser, `SELECT 1 FROM pg_database WHERE datname = ${literal(name)}`);
      const shape = `TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'`;
      if (!exists) await sql(superuser, `CREATE DATABASE ${identifier(name)} OWNER ${identifier(owner)} ${shape}`);
      return { host, port, name, user: owner, password };
    },
    async start() {
      if (child?.isRunning) return;
      const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
      // orphaned: an immediate end, which its own children follow
      child = await startChild({
        command: [program('postgres'), '-D', at.data, ...flags],
        logPath: at.log,
        ...(user && { user }),
        stopSignal: 'SIGINT',
        orphanSignal: 'SIGQUIT',
      });
      await waitUntilReady('PostgreSQL', child, at.log, async () => (await sql(superuser, 'SELECT 1')) !== '');
    },
    stop: async () => await child?.stop(),
    kill: async () => await child?.kill(),
    async restart() {
      await postgres.stop();
      await postgres.start();
    },
    async dispose() {
      await postgres.kill();
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
  await postgres.start();
  return postgres;
}

/** Runs SQL; rows come back as lines, columns parted by `|`. Errors: psql's, and nothing after the first is run. */
export async function sql({ host, port, name, user, password }: Database, statements: string): Promise<string> {
  const psql = join(await ensurePostgres(), 'psql');
  const address = ['-h', host, '-p', String(port), '-U', user, '-d', name];
  return await run([psql, '-XAtq', '-v', 'ON_ERROR_STOP=1', ...address], { input: statements, env: { PGPASSWORD: password } });
}

async function initialise(initdb: string, user: User | undefined, at: { data: string; password: string }): Promise<void> {
  await writeFile(at.password, randomBytes(16).toString('hex'), { mode: 0o600 });
  if (user) await chown(at.password, user.uid, user.gid);
  const shape = ['--encoding=UTF8', '--locale=C', '--auth=scram-sha-256', '--username=postgres', `--pwfile=${at.password}`];
  await run(asUser(user, [initdb, `--pgdata=${at.data}`, ...shape, '--no-sync']), { cwd: '/' });
}

/** The port of last time when it is free, so that addresses stay. */
async function portFor(path: string): Promise<number> {
  const last = existsSync(path) ? Number(await readFile(path, 'utf8')) : null;
  const port = last !== null && (await isFree(last)) ? last : await freePort();
  await writeFile(path, String(port));
  return port;
}

/** Whom the server runs as: this user, or, as it refuses root, `postgres` or `nobody`. */
async function unprivileged(): Promise<User | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const entry = lines.find(([name]) => name === 'postgres') ?? lines.find(([name]) => name === 'nobody');
  if (!entry) throw new Error('PostgreSQL refuses to run as root, and this machine has neither the user postgres nor nobody');
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
