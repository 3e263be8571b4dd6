import { spawn } from 'node:child_process';
import { chown, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { finished, pipeline } from 'node:stream/promises';
import type { Clock } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';
import type { ScratchDatabase } from '../stack.ts';
import { batchesOf, connect, rowsOf } from './postgres.ts';

export interface ScratchOptions {
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
export async function startScratchPostgres({ programs, dir, clock, signal }: ScratchOptions): Promise<ScratchDatabase> {
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
        load: (chunks, during) => load(programs, home, chunks, during),
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

/** zstd frames through `zstd` and `pg_restore` into the scratch database, to the end. */
async function load(programs: string, socket: string, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  const script = `{ zstd -q -d -c; echo "zstd $?" >&3; } | { "$@"; echo "pg_restore $?" >&3; }`;
  const restore = [join(programs, 'pg_restore'), '--exit-on-error', '--no-owner', '--no-privileges', '-h', socket, '-U', name, '-d', name];
  await feedShell(script, restore, chunks, ['zstd', 'pg_restore'], signal);
}

/**
 * Gives a shell's stages their input to the end.
 *
 * @param stages names that the script tells on descriptor 3 with their exit codes
 * @throws Failure `backup.unreadable` when one did not end with 0; whatever `chunks` throws
 */
export async function feedShell(
  script: string,
  words: readonly string[],
  chunks: AsyncIterable<Uint8Array>,
  stages: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const child = spawn('/bin/sh', ['-c', script, 'sh', ...words], { stdio: ['pipe', 'ignore', 'pipe', 'pipe'], detached: true });
  const abort = (): void => {
    try {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM');
    } catch {
      // It has ended by itself.
    }
  };
  signal.addEventListener('abort', abort, { once: true });
  let told = '';
  let said = '';
  child.stdio[3]?.on('data', (text: Buffer) => (told += text.toString()));
  child.stderr?.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-2000)));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()).once('error', () => resolve()));
  try {
    let broken: unknown = null;
    const stdin = child.stdin;
    if (stdin === null) throw new TypeError('a pipe was asked for');
    await pipeline(chunks, stdin).catch((error: unknown) => {
      // A stage that ended early tells why by itself; the source's own failure is the cause otherwise.
      if ((error as NodeJS.ErrnoException).code !== 'EPIPE' && (error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE')
        broken = error;
    });
    if (broken !== null) abort();
    await closed;
    if (broken !== null) throw broken as Error;
    signal.throwIfAborted();
    for (const stage of stages) {
      const code = new RegExp(`^${stage} (\\d+)$`, 'm').exec(told)?.[1];
      if (code !== '0')
        throw new Failure('backup.unreadable', {
          attempted: 'read the database dump to its end',
          reason: `${stage} ended with exit code ${code ?? 'unknown'}${said.trim() === '' ? '' : `: ${said.trim().split('\n').at(-1) ?? ''}`}`,
        });
    }
  } finally {
    signal.removeEventListener('abort', abort);
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
