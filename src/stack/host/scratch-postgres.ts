import { spawn } from 'node:child_process';
import { chown, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import type { Clock } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';
import { feedDecompressed } from './feed.ts';
import type { BootOptions, ScratchDatabase, ScratchHomeserver } from '../stack.ts';
import { batchesOf, connect, rowsOf } from './postgres.ts';
import type { ScratchPlace } from './scratch-synapse.ts';

export interface ScratchOptions {
  boot: (database: ScratchPlace, options: BootOptions, signal: AbortSignal) => Promise<ScratchHomeserver>;
  /** Folder of the server's programs. */
  programs: string;
  /** Folder that the data are made in. */
  dir: string;
  clock: Clock;
  signal: AbortSignal;
}

/** Name of the database in it, and of its only role. */
const name = 'scratch';
const startBound = 60_000;

/**
 * Keeps a server and its folder only as long as somebody holds the other end of standard input: when Steward goes, even by
 * SIGKILL, the server is ended at once and its data are removed.
 */
const guarded = `
dir=$1; shift
"$@" </dev/null >"$dir/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT $server 2>/dev/null
wait $server
rm -rf "$dir"
`;

/** PostgreSQL refuses to run as root. */
interface User {
  uid: number;
  gid: number;
}

/**
 * A PostgreSQL of its own: own data folder, unix socket only, nothing flushed to disk, C locale as Synapse wants it.
 *
 * @throws Failure `stack.scratch-failed`
 */
export async function startScratchPostgres({ boot, programs, dir, clock, signal }: ScratchOptions): Promise<ScratchDatabase> {
  const attempted = 'start a PostgreSQL that is thrown away';
  const user = process.getuid?.() === 0 ? await unprivileged() : undefined;
  const as = user === undefined ? {} : { uid: user.uid, gid: user.gid };
  const home = await mkdtemp(join(dir, 'steward-scratch-'));
  const data = join(home, 'data');
  if (user !== undefined) await chown(home, user.uid, user.gid);
  try {
    const flags = ['--encoding=UTF8', '--locale=C', '--auth=trust', `--username=${name}`, '--no-sync', '--no-instructions'];
    await runToEnd([join(programs, 'initdb'), `--pgdata=${data}`, ...flags], { ...as, cwd: home, signal });
    // Small buffers: it runs beside the real one. Large sort memory makes the indexes quick.
    const settings = {
      listen_addresses: '',
      unix_socket_directories: home,
      unix_socket_permissions: '0700',
      fsync: 'off',
      full_page_writes: 'off',
      synchronous_commit: 'off',
      wal_level: 'minimal',
      max_wal_senders: '0',
      max_wal_size: '2GB',
      autovacuum: 'off',
      maintenance_work_mem: '64MB',
    };
    const words = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
    const guard = spawn('/bin/sh', ['-c', guarded, 'sh', home, join(programs, 'postgres'), '-D', data, ...words], {
      ...as,
      cwd: '/',
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    const gone = new Promise<void>((resolve) => guard.once('close', () => resolve()).once('error', () => resolve()));
    const access = { host: home, port: 5432, name: 'postgres', user: name, password: null, owner: name };
    const stop = async (): Promise<void> => {
      guard.stdin.destroy();
      await gone;
      await rm(home, { recursive: true, force: true });
    };
    try {
      const deadline = clock.now() + startBound;
      const first = await (async () => {
        for (;;) {
          signal.throwIfAborted();
          try {
            return await connect(access);
          } catch (error) {
            if (clock.now() > deadline || guard.exitCode !== null)
              throw new Failure('stack.scratch-failed', { attempted, reason: await lastLine(join(home, 'log')), cause: error });
            await clock.sleep(100, signal);
          }
        }
      })();
      await first.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'`);
      await first.end();
      const client = await connect({ ...access, name });
      return {
        rows: (sql) => rowsOf(client, sql),
        batches: (sql, size) => batchesOf(client, sql, size),
        execute: async (sql) => {
          await client.query(sql);
        },
        boot: (options, during) => boot({ kind: 'postgres', host: home, port: access.port, name, user: name }, options, during),
        load: (data, during) => {
          const options = ['--exit-on-error', '--no-owner', '--no-privileges', '-h', home, '-U', name, '-d', name];
          return feedDecompressed({
            reader: { name: 'pg_restore', command: [join(programs, 'pg_restore'), ...options] },
            data,
            signal: during,
          });
        },
        close: async () => {
          await client.end().catch(() => undefined);
          await stop();
        },
      };
    } catch (error) {
      await stop();
      throw error;
    }
  } catch (error) {
    await rm(home, { recursive: true, force: true });
    throw error instanceof Failure || signal.aborted
      ? error
      : new Failure('stack.scratch-failed', { attempted, reason: (error as Error).message, cause: error });
  }
}

async function runToEnd(
  command: readonly string[],
  options: { uid?: number; gid?: number; cwd: string; signal: AbortSignal },
): Promise<void> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text: Buffer) => (said += text.toString()));
  child.on('error', (error) => (said += error.message));
  await finished(child.stderr).catch(() => undefined);
  const code = child.exitCode ?? (await new Promise<number | null>((resolve) => child.once('close', resolve)));
  if (code !== 0) throw new Error(said.trim().split('\n').at(-1) ?? `exit code ${String(code)}`);
}

async function unprivileged(): Promise<User> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const entry = lines.find(([user]) => user === 'postgres') ?? lines.find(([user]) => user === 'nobody');
  if (entry === undefined) throw new Error('PostgreSQL refuses to run as root, and there is no other user to run it as');
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

async function lastLine(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trim().split('\n').at(-1) ?? 'it does not answer';
}
