import { spawn } from 'node:child_process';
import { chownSync, mkdtempSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';
import { feedDecompressed } from './feed.ts';
import type { BootOptions, ScratchDatabase, ScratchHomeserver } from '../stack.ts';
import { batchesOf, connect, lookIntoSchema, rowsOf } from './postgres.ts';
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
/** Milliseconds until it answers, its folder made before. */
const startBound = 120_000;
const saidAtMost = 2000;

/**
 * Makes the folder's content and runs a server on it, only as long as somebody holds the other end of standard input: when Steward
 * goes, even by SIGKILL, all of it is ended at once and its data are removed. What it says tells by its end that it has ended.
 */
const guarded = `
dir=$1; initdb=$2; shift 2
trap : TERM
{ "$initdb" --pgdata="$dir/data" --encoding=UTF8 --locale=C --auth=trust --username=${name} --no-sync --no-instructions && exec "$@"; } </dev/null >/dev/null &
server=$!
exec 2>/dev/null
cat >/dev/null
kill -QUIT $server
kill -TERM 0
wait $server
for again in 1 2 3 4 5; do rm -rf "$dir" && break; sleep 0.2; done
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
  // From here to the guard there is no moment at which a kill could leave it.
  const home = mkdtempSync(join(dir, 'steward-scratch-'));
  const data = join(home, 'data');
  try {
    if (user !== undefined) chownSync(home, user.uid, user.gid);
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
    const server = [join(programs, 'postgres'), '-D', data, ...words];
    const guard = spawn('/bin/sh', ['-c', guarded, 'sh', home, join(programs, 'initdb'), ...server], {
      ...as,
      cwd: '/',
      stdio: ['pipe', 'ignore', 'pipe'],
      detached: true,
    });
    let said = '';
    guard.stderr.on('data', (piece: Buffer) => (said = (said + piece.toString()).slice(-saidAtMost)));
    const gone = new Promise<void>((resolve) => guard.once('close', () => resolve()).once('error', () => resolve()));
    const access = { host: home, port: 5432, name: 'postgres', user: name, password: null, owner: name };
    const stop = async (): Promise<void> => {
      guard.stdin.destroy();
      await gone;
      await rm(home, { recursive: true, force: true });
    };
    try {
      const deadline = clock.monotonic() + startBound;
      const first = await (async () => {
        for (;;) {
          signal.throwIfAborted();
          try {
            return await connect(access);
          } catch (error) {
            if (clock.monotonic() > deadline || guard.stderr.closed)
              throw new Failure('stack.scratch-failed', { attempted, reason: mistakeIn(said), cause: error });
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
        load: async (data, during) => {
          const options = ['--exit-on-error', '--no-owner', '--no-privileges', '-h', home, '-U', name, '-d', name];
          await feedDecompressed({
            reader: { name: 'pg_restore', command: [join(programs, 'pg_restore'), ...options] },
            data,
            signal: during,
          });
          await lookIntoSchema(client, name);
          await client.query(`ALTER DATABASE ${name} SET search_path FROM CURRENT`);
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

async function unprivileged(): Promise<User> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const entry = lines.find(([user]) => user === 'postgres') ?? lines.find(([user]) => user === 'nobody');
  if (entry === undefined) throw new Error('PostgreSQL refuses to run as root, and there is no other user to run it as');
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

/** The last line that names a mistake; what comes after one tells of clearing up. */
function mistakeIn(said: string): string {
  const lines = said.trim().split('\n');
  return lines.findLast((line) => /error|fatal|panic/i.test(line)) ?? (lines.at(-1) || 'it does not answer');
}
