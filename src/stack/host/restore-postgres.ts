import { randomBytes } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import type { Client } from 'pg';
import type { Clock } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';
import type { Direction, LoadFormat, RestoreDatabases, Snapshot, Space } from '../stack.ts';
import { feedDecompressed } from './feed.ts';
import { connect, environmentOf, identifier, maintenance, majorOf, openSnapshot, rowsOf, type Access } from './postgres.ts';
import { dumpProgram } from './programs.ts';
import { freeAt, isOwnAddress, keepingFree } from './space.ts';

/** PostgreSQL cuts names off after 63 bytes. */
const nameAtMost = 35;
/** Bytes that a load leaves free: a server that finds no room for its log ends, and the live database with it. */
const reserve = 128 << 20;
/** 64 MiB: a row fills a page. */
const ballast = { table: 'public.steward_restore_ballast', row: 8000, rows: 8192 };
/** Loaded, a database is no larger than it was; its indexes want room to be sorted in. */
const growth = 1.3;

/** A restore beside a database of PostgreSQL: a new database, put in place of the live one by renaming both at once. */
export class PostgresRestore {
  readonly #access: Access;
  readonly #programs: string | undefined;
  readonly #clock: Clock;

  constructor(access: Access, programs: string | undefined, clock: Clock) {
    this.#access = access;
    this.#programs = programs;
    this.#clock = clock;
  }

  async load(id: string, format: LoadFormat, data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string[]> {
    if (format === 'sqlite')
      throw new Failure('restore.refused', {
        attempted: 'load the database',
        reason: 'the backup is of SQLite, and the homeserver uses PostgreSQL',
      });
    const { host, port, user, owner } = this.#access;
    const name = this.#name(id, 'prepared');
    const { major, place } = await this.#on(maintenance, async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${identifier(name)} WITH (FORCE)`);
      const shape = `TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'`;
      await client.query(`CREATE DATABASE ${identifier(name)} OWNER ${identifier(owner)} ${shape}`);
      await this.#copyGrants(client, name);
      return { major: await majorOf(client), place: (await dataFolder(client)).folder };
    });
    const notSet = await this.#copySettings(name);
    const loader = format === 'sql' ? 'psql' : 'pg_restore';
    const program = dumpProgram(this.#programs, major).replace(/pg_dump$/, loader);
    const options =
      format === 'sql'
        ? ['--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--single-transaction', '--file=-', '--no-password']
        : ['--exit-on-error', '--no-owner', '--no-privileges', `--role=${owner}`, '--no-password'];
    const input = format === 'sql' ? after(restricted(owner), data) : data;
    // Its own words must be the ones that `cannotLoad` knows.
    const env = { LC_ALL: 'C', PGAPPNAME: 'steward-restore', ...environmentOf(this.#access) };
    const command = [program, ...options, '-h', host, '-p', String(port), '-U', user, '-d', name] as const;
    const load = (during: AbortSignal): Promise<void> =>
      feedDecompressed({ reader: { name: loader, command: [...command], env }, data: input, signal: during, explain: cannotLoad });
    await this.#keepBallast(name);
    try {
      if (place === null) await load(signal);
      else await keepingFree({ place, reserve, attempted: 'load the database', clock: this.#clock, signal }, load);
    } catch (error) {
      await this.#dropBallast(name).catch(() => undefined);
      throw error;
    }
    await this.#dropBallast(name);
    await this.#asOwner(name, async (client) => {
      // A key that was handed out already must not be handed out again.
      await client.query('TRUNCATE e2e_one_time_keys_json');
      await client.query('ANALYZE');
    });
    return notSet;
  }

  /** Space of the new database that is given back at once when the disk is full: without room a server can neither drop a database nor go on. */
  async #keepBallast(name: string): Promise<void> {
    await this.#asOwner(name, async (client) => {
      await client.query(`CREATE UNLOGGED TABLE ${ballast.table} (x text)`);
      await client.query(`ALTER TABLE ${ballast.table} ALTER x SET STORAGE PLAIN`);
      await client.query(`INSERT INTO ${ballast.table} SELECT repeat('x', ${ballast.row}) FROM generate_series(1, ${ballast.rows})`);
    });
  }

  async #dropBallast(name: string): Promise<void> {
    await this.#asOwner(name, (client) => client.query(`DROP TABLE ${ballast.table}`));
  }

  openPrepared(id: string): Promise<Snapshot> {
    return openSnapshot({ ...this.#access, name: this.#name(id, 'prepared') });
  }

  async databases(id: string): Promise<RestoreDatabases> {
    return this.#on(maintenance, (client) => this.#databases(client, id));
  }

  async space(bytes: number): Promise<Space> {
    const { host, port } = this.#access;
    return this.#on(maintenance, async (client) => {
      const [row] = await rowsOf(client, `SELECT pg_size_bytes(current_setting('max_wal_size'))::text AS log`);
      const { folder, grant } = await dataFolder(client);
      return {
        place: folder ?? `PostgreSQL on ${host}:${port}`,
        needed: Math.ceil(bytes * growth) + Math.min(bytes, Number(row?.['log'])) + reserve,
        free: folder === null ? null : await freeAt(folder),
        grant: grant ? settingsGrant(this.#access) : null,
      };
    });
  }

  async swap(id: string, direction: Direction): Promise<void> {
    await this.#on(maintenance, async (client) => {
      try {
        await this.#rename(client, id, direction);
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined);
        throw this.#failure(error, 'put the restored database in place');
      } finally {
        await this.#open(client, id);
      }
    });
  }

  async #rename(client: Client, id: string, direction: Direction): Promise<void> {
    const there = await this.#databases(client, id);
    // Whether what was loaded stands aside tells on which side the homeserver is.
    if (direction === 'in' ? !there.prepared : there.prepared) return;
    const [live, prepared, kept] = [this.#access.name, this.#name(id, 'prepared'), this.#name(id, 'kept')];
    const into: [string, string][] = [...(there.live ? [[live, kept] as [string, string]] : []), [prepared, live]];
    const back: [string, string][] = [[live, prepared], ...(there.kept ? [[kept, live] as [string, string]] : [])];
    const renames = direction === 'in' ? into : back;
    const closed = renames.map(([from]) => from);
    for (const name of closed) await client.query(`ALTER DATABASE ${identifier(name)} ALLOW_CONNECTIONS false`);
    // Those that came in before the door was closed.
    await this.#endSessions(client, closed);
    await client.query('BEGIN');
    for (const [from, to] of renames) await client.query(`ALTER DATABASE ${identifier(from)} RENAME TO ${identifier(to)}`);
    await client.query('COMMIT');
  }

  /** Whatever this run, or one that was cut off, has closed. */
  async #open(client: Client, id: string): Promise<void> {
    for (const name of [this.#access.name, this.#name(id, 'prepared'), this.#name(id, 'kept')])
      if (await exists(client, name)) await client.query(`ALTER DATABASE ${identifier(name)} ALLOW_CONNECTIONS true`);
  }

  async drop(id: string, which: 'prepared' | 'kept'): Promise<void> {
    await this.#on(maintenance, async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${identifier(this.#name(id, which))} WITH (FORCE)`);
    });
  }

  #name(id: string, which: 'prepared' | 'kept'): string {
    return `${this.#access.name.slice(0, nameAtMost)}_${which === 'prepared' ? 'restore' : 'before'}_${id}`;
  }

  async #databases(client: Client, id: string): Promise<RestoreDatabases> {
    return {
      live: await exists(client, this.#access.name),
      prepared: await exists(client, this.#name(id, 'prepared')),
      kept: await exists(client, this.#name(id, 'kept')),
    };
  }

  /** Who may connect to the live database may connect to the new one as well. */
  async #copyGrants(client: Client, name: string): Promise<void> {
    const live = literal(this.#access.name);
    const grants = await rowsOf(
      client,
      `SELECT a.privilege_type AS right, r.rolname AS role FROM pg_database d, aclexplode(d.datacl) a
       LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE d.datname = ${live} AND a.grantee <> d.datdba`,
    );
    const [acl] = await rowsOf(client, `SELECT datacl IS NOT NULL AS set FROM pg_database WHERE datname = ${live}`);
    if (acl?.['set'] === true) await client.query(`REVOKE ALL ON DATABASE ${identifier(name)} FROM PUBLIC`);
    for (const { right, role } of grants) {
      const to = typeof role === 'string' ? identifier(role) : 'PUBLIC';
      await client.query(`GRANT ${String(right)} ON DATABASE ${identifier(name)} TO ${to}`);
    }
  }

  /**
   * Settings of the live database, and of the homeserver's role in it. Without its search_path a homeserver finds no tables.
   *
   * @returns names of those that could not be set
   */
  async #copySettings(name: string): Promise<string[]> {
    // On a connection of its own: to be copied, a setting is made one of the session.
    return this.#on(maintenance, async (client) => {
      await client.query(`SET ROLE ${identifier(this.#access.owner)}`);
      const settings = await rowsOf(
        client,
        `SELECT setrole = 0 AS all, split_part(line, '=', 1) AS name, substr(line, strpos(line, '=') + 1) AS value
         FROM pg_db_role_setting, unnest(setconfig) AS line
         WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = ${literal(this.#access.name)})
           AND (setrole = 0 OR pg_get_userbyid(setrole) = ${literal(this.#access.owner)})
           -- A live database may be held still by it, and the new one is to be loaded.
           AND split_part(line, '=', 1) <> 'default_transaction_read_only'`,
      );
      const notSet: string[] = [];
      for (const { all, name: setting, value } of settings) {
        const of = all === true ? `DATABASE ${identifier(name)}` : `ROLE ${identifier(this.#access.owner)} IN DATABASE ${identifier(name)}`;
        try {
          await client.query(`SELECT set_config(${literal(String(setting))}, ${literal(String(value))}, false)`);
          await client.query(`ALTER ${of} SET ${String(setting)} FROM CURRENT`);
          await client.query(`RESET ${String(setting)}`);
        } catch (error) {
          // Only a superuser may set it, or its value is none any more. SQLSTATE, its class.
          if (!/^(22|25|42)...$/.test((error as { code?: string }).code ?? '')) throw error;
          notSet.push(String(setting));
        }
      }
      return notSet;
    });
  }

  /** Ends all sessions and waits until they are gone: a database with sessions cannot be renamed. */
  async #endSessions(client: Client, names: readonly string[]): Promise<void> {
    const list = names.map(literal).join(', ');
    for (let tries = 0; tries < 100; tries += 1) {
      const left = await rowsOf(
        client,
        `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE datname IN (${list}) AND backend_type <> 'autovacuum worker'`,
      );
      if (left.length === 0) return;
    }
    throw new Failure('restore.sessions', { attempted: 'put the restored database in place' });
  }

  async #asOwner<T>(name: string, work: (client: Client) => Promise<T>): Promise<T> {
    return this.#on(name, async (client) => {
      await client.query(`SET ROLE ${identifier(this.#access.owner)}`);
      return work(client);
    });
  }

  async #on<T>(name: string, work: (client: Client) => Promise<T>): Promise<T> {
    const client = await connect({ ...this.#access, name });
    try {
      return await work(client);
    } catch (error) {
      throw this.#failure(error, 'restore the database');
    } finally {
      await client.end();
    }
  }

  #failure(error: unknown, attempted: string): unknown {
    if (error instanceof Failure) return error;
    const { code, message } = error as { code?: string; message?: string };
    // 57P…: the server ends, or starts.
    if (/^57P/.test(code ?? '') || /ECONNRESET|EPIPE|^Connection terminated/.test(`${code ?? ''} ${message ?? ''}`.trim()))
      return new Failure('stack.database-unreachable', { attempted, reason: 'it has ended the connection', cause: error });
    if (code === undefined || !/^[0-9A-Z]{5}$/.test(code)) return error;
    // 53100: disk full. PostgreSQL's messages on these statements name roles, databases and files.
    if (code === '53100') return new Failure('restore.no-space', { attempted, reason: message ?? code, cause: error });
    if (code === '42501') return new Failure('stack.not-granted', { attempted, reason: message ?? code, cause: error });
    return new Failure('restore.failed', { attempted, reason: message ?? code, cause: error });
  }
}

/** What lets the role see it. */
export const settingsGrant = ({ user }: Access): string => `GRANT pg_read_all_settings TO ${identifier(user)};`;

/** Where a server on this machine keeps its data; null where it is another machine, or does not say. */
export async function dataFolder(client: Client): Promise<{ folder: string | null; grant: boolean }> {
  const [at] = await rowsOf(client, `SELECT host(inet_server_addr()) AS address`);
  // A server that is reached by its socket has no address.
  const address = at?.['address'];
  if (typeof address === 'string' && !isOwnAddress(address)) return { folder: null, grant: false };
  try {
    const { rows } = await client.query<{ folder: string }>(`SELECT current_setting('data_directory') AS folder`);
    const folder = rows[0]?.folder ?? '';
    return { folder: (await freeAt(folder)) === null ? null : folder, grant: false };
  } catch (error) {
    if ((error as { code?: string }).code === '42501') return { folder: null, grant: true };
    throw error;
  }
}

/** What pg_restore or psql says of the server that it loads into, and not of the dump; null where it is of the dump. */
function cannotLoad(said: string): Failure | null {
  const of =
    /(?:pg_restore: (?:error|fatal): (?:could not execute query|COPY failed|connection to server|error returned by PQ|could not close)|psql:.*(?:FATAL|PANIC|No space left|Disk quota|connection))[^]*/i;
  const lines = (of.exec(said)?.[0] ?? '').split('\n');
  if (lines[0] === '') return null;
  const reason = (/ERROR: +(.*)|FATAL: +(.*)/.exec(lines.join('\n'))?.[0] ?? lines[0] ?? '').slice(0, 300);
  const attempted = 'load the database';
  return /No space left on device|Disk quota exceeded|wrote only \d+ of \d+ bytes/.test(said)
    ? new Failure('restore.no-space', { attempted, reason: `PostgreSQL said ${reason}` })
    : new Failure('restore.failed', { attempted, reason: `PostgreSQL said ${reason}` });
}

/** What psql itself would do for its input is refused from here on: nobody knows the word that ends it. */
function restricted(owner: string): string {
  return `\\restrict ${randomBytes(24).toString('hex')}\nSET ROLE ${identifier(owner)};\n`;
}

/** A frame of zstd before others. */
async function* after(text: string, frames: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield zstdCompressSync(text);
  yield* frames;
}

async function exists(client: Client, name: string): Promise<boolean> {
  return (await rowsOf(client, `SELECT 1 FROM pg_database WHERE datname = ${literal(name)}`)).length > 0;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
