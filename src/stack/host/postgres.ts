import type { Client, ClientConfig } from 'pg';
import type { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type { Capability, DatabaseFacts, Snapshot } from '../stack.ts';
import type { TlsSettings } from '../synapse-config.ts';
import { isOfTls, tlsAttempts, tlsEnvironment, wantsOther } from './postgres-tls.ts';

/** How Steward reaches the database. */
export interface Access {
  host: string;
  port: number;
  name: string;
  user: string;
  password: Secret | null;
  /** The role that the homeserver connects as. */
  owner: string;
  /** Settings of the homeserver's connections, as libpq takes them (`-c search_path=synapse`). */
  options?: string | undefined;
  /** Of the homeserver's connections. Default: none. */
  tls?: TlsSettings | undefined;
}

export type Row = Record<string, unknown>;

/** A table that every Synapse has. */
const everySynapse = 'schema_version';

const noTls: TlsSettings = { mode: 'disable' };
/** Milliseconds after which a server that does not answer is called unreachable. */
const connectBound = 10_000;

/**
 * Names of tables mean Synapse's own, in whatever schema those are.
 *
 * @throws Failure `stack.database-unreachable`
 */
export async function connect(access: Access): Promise<Client> {
  const { host, port, name, user, password, owner, options, tls = noTls } = access;
  const settings: ClientConfig = {
    ...{ host, port, database: name, user },
    // The last one counts: limits that are for the homeserver's queries are not for a copy.
    ...(options === undefined ? {} : { options: `${options} -c statement_timeout=0 -c idle_in_transaction_session_timeout=0` }),
    ...{ connectionTimeoutMillis: connectBound, application_name: 'steward' },
  };
  const secret = password === null ? {} : { password: password.reveal() };
  try {
    const attempts = await tlsAttempts(host, tls);
    for (const [n, ssl] of attempts.entries())
      try {
        return await connected({ ...settings, ...secret, ssl }, owner);
      } catch (error) {
        if (n === attempts.length - 1 || !wantsOther(error)) throw error;
      }
    throw new TypeError('no way to connect was tried');
  } catch (error) {
    throw unreachable(access, error);
  }
}

async function connected(settings: ClientConfig, owner: string): Promise<Client> {
  // Loaded when first needed: most starts never ask a database.
  const { default: pg } = await import('pg');
  const client = new pg.Client(settings);
  // A connection that breaks while idle tells here; what is asked next fails by itself.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await lookIntoSchema(client, owner);
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
}

/** What PostgreSQL's programs take beside their arguments, as variables of the environment. */
export function environmentOf({ password, tls = noTls }: Access): Record<string, string> {
  return { ...tlsEnvironment(tls), ...(password === null ? {} : { PGPASSWORD: password.reveal() }) };
}

/** Where the homeserver's role looks into another schema by a setting of its own, this role does too. */
export async function lookIntoSchema(client: Client, owner: string): Promise<void> {
  await client.query(
    `SELECT set_config('search_path', quote_ident(min(nspname)), false) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE relname = $1 AND relkind = 'r' AND pg_get_userbyid(relowner) = $2 AND to_regclass($1) IS NULL HAVING count(*) = 1`,
    [everySynapse, owner],
  );
}

export async function onServer<T>(access: Access, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect(access);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export function unreachable({ host, port, name, user }: Access, error: unknown): Failure {
  const { code, message } = error as { code?: string; message?: string };
  // 28…: the server does not let this role in; 3D000: there is no such database. Its messages name roles and databases only.
  const isTold = (code !== undefined && /^(28|3D)/.test(code)) || isOfTls(error);
  const said = isTold ? (message ?? code ?? '') : (code ?? 'no answer');
  return new Failure('stack.database-unreachable', {
    attempted: `connect to the database ${name} on ${host}:${port} as ${user}`,
    reason: said,
    cause: error,
  });
}

/** One view of everything, held until it is closed. `id` lets pg_dump see the same. */
export async function openSnapshot(access: Access): Promise<Snapshot & { id: string }> {
  const client = await connect(access);
  let open = true;
  const close = async (): Promise<void> => {
    if (!open) return;
    open = false;
    await client.end().catch(() => undefined);
  };
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    const exported = await client.query<{ id: string }>('SELECT pg_export_snapshot() AS id');
    return {
      id: exported.rows[0]?.id ?? '',
      rows: (sql) => rowsOf(client, sql),
      batches: (sql, size) => batchesOf(client, sql, size),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export async function rowsOf(client: Client, sql: string): Promise<Row[]> {
  return (await query(client, sql)).rows;
}

/** @throws Failure `stack.not-granted`, `stack.no-schema` */
async function query(client: Client, sql: string): Promise<{ rows: Row[] }> {
  return client.query<Row>(sql).catch((error: unknown) => {
    const { code } = error as { code?: string };
    // 42P01: undefined_table.
    if (code === '42P01')
      throw new Failure('stack.no-schema', { attempted: 'read the database', reason: (error as Error).message, cause: error });
    // 42501: insufficient_privilege. The message names a table.
    if (code !== '42501') throw error;
    throw new Failure('stack.not-granted', { attempted: 'read the database', reason: (error as Error).message, cause: error });
  });
}

/** The server's major version, which every role may ask for. */
export async function majorOf(client: Client): Promise<number> {
  const [row] = await rowsOf(client, `SELECT current_setting('server_version_num')::int / 10000 AS major`);
  return Number(row?.['major']);
}

let cursors = 0;

export async function* batchesOf(client: Client, sql: string, size: number): AsyncGenerator<Row[]> {
  cursors += 1;
  const cursor = `steward_${cursors}`;
  await query(client, `DECLARE ${cursor} NO SCROLL CURSOR FOR ${sql}`);
  for (;;) {
    const { rows } = await query(client, `FETCH ${Math.trunc(size)} FROM ${cursor}`);
    if (rows.length > 0) yield rows;
    if (rows.length < size) break;
  }
  await client.query(`CLOSE ${cursor}`);
}

/** What every role may ask for. */
export async function sizeOf(client: Client): Promise<{ major: number; bytes: number }> {
  const [row] = await rowsOf(client, 'SELECT pg_database_size(current_database())::text AS bytes');
  return { major: await majorOf(client), bytes: Number(row?.['bytes']) };
}

export async function factsOf(client: Client): Promise<DatabaseFacts> {
  const [row] = await rowsOf(
    client,
    `SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
       pg_database_size(current_database())::text AS bytes, datcollate AS collation, pg_encoding_to_char(encoding) AS encoding
     FROM pg_database WHERE datname = current_database()`,
  );
  const [schema] = await rowsOf(client, 'SELECT version FROM schema_version');
  const [compat] = await rowsOf(client, 'SELECT compat_version FROM schema_compat_version');
  return {
    version: String(row?.['version']).split(' ')[0] ?? '',
    major: Number(row?.['major']),
    bytes: Number(row?.['bytes']),
    collation: String(row?.['collation']),
    encoding: String(row?.['encoding']),
    schemaVersion: Number(schema?.['version']),
    compatVersion: compat === undefined ? null : Number(compat['compat_version']),
  };
}

/** The database that is always there, to speak from while the live one is closed or gone. */
export const maintenance = 'postgres';

/** What the role may do to the database of this name, with the GRANT for what it may not. */
export async function powersOf(client: Client, access: Access): Promise<Pick<Capability, 'missing' | 'grant'>[]> {
  const { rows } = await client.query<Record<string, unknown>>(
    `SELECT rolsuper AS super, rolcreatedb AS createdb,
       pg_has_role(current_user, of.owner, 'USAGE') AS owner, coalesce(pg_get_userbyid(of.owner), $2) AS owner_name,
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE') AS signal,
       (SELECT count(*)::int FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'S') AND n.nspname !~ '^pg_|^information_schema$'
          AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))) AS hidden
     FROM pg_roles, (SELECT coalesce((SELECT datdba FROM pg_database WHERE datname = $1), (SELECT oid FROM pg_roles WHERE rolname = $2)) AS owner) of
     WHERE rolname = current_user`,
    [access.name, access.owner],
  );
  const [row] = rows;
  const role = identifier(access.user);
  const isSuper = row?.['super'] === true;
  const hidden = Number(row?.['hidden']);
  const dump = { missing: [] as string[], grant: [] as string[] };
  if (hidden > 0) {
    dump.missing.push(`${access.user} may not read ${hidden} tables or sequences`);
    dump.grant.push(`GRANT pg_read_all_data TO ${role};`);
  }
  const restore = { missing: [] as string[], grant: [] as string[] };
  if (!isSuper && row?.['owner'] !== true) {
    restore.missing.push(`${access.user} does not own the database`);
    restore.grant.push(`GRANT ${identifier(String(row?.['owner_name']))} TO ${role};`);
  }
  if (!isSuper && row?.['createdb'] !== true) {
    restore.missing.push(`${access.user} may not make databases`);
    restore.grant.push(`ALTER ROLE ${role} CREATEDB;`);
  }
  if (!isSuper && row?.['signal'] !== true) {
    restore.missing.push(`${access.user} may not end other sessions`);
    restore.grant.push(`GRANT pg_signal_backend TO ${role};`);
  }
  return [dump, restore];
}

export function identifier(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}
