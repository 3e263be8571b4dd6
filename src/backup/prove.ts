import { createHash } from 'node:crypto';
import { Failure } from '../failures/failure.ts';
import type { DatabaseDump, ScratchDatabase, Snapshot } from '../stack/stack.ts';
import { quotedName } from './quoted-name.ts';

/** What the dump and the database must agree on, counted in the dump's own view. */
export interface Fingerprint {
  /** Rows by table. */
  rows: ReadonlyMap<string, number>;
  /** Each column with its type, each index with its definition; sorted. */
  schema: readonly string[];
  /** Last values of the sequences, by name. */
  sequences: ReadonlyMap<string, bigint>;
}

/** A fingerprint as a record keeps it. */
export interface Held {
  rows: Readonly<Record<string, number>>;
  /** SHA-256 of the schema's lines. */
  schema: string;
  sequences: Readonly<Record<string, string>>;
}

/**
 * Why a backup is not tried in a database: there is no place for one, or its disk is full. Its dump is read to its end instead.
 *
 * @throws any other error
 */
export function noScratch(error: unknown, signal: AbortSignal): { scratch: null; reason: string } {
  signal.throwIfAborted();
  if (!(error instanceof Failure) || error.id !== 'stack.scratch-failed') throw error;
  return { scratch: null, reason: error.reason };
}

export function heldOf({ rows, schema, sequences }: Fingerprint): Held {
  return {
    rows: Object.fromEntries([...rows].map(([table, count]) => [table, table === leftOut ? 0 : count])),
    schema: schemaHash(schema),
    sequences: Object.fromEntries([...sequences].map(([name, value]) => [name, String(value)])),
  };
}

/** A database sorts by a collation of its own. */
const schemaHash = (lines: readonly string[]): string => createHash('sha256').update(lines.toSorted().join('\n')).digest('hex');

/** The one table whose rows are left out of every backup. */
const leftOut = 'e2e_one_time_keys_json';

/** Sequences that Synapse holds against its table of stream positions when it starts, by the stream's name. */
const streamSequences: Readonly<Record<string, string>> = {
  account_data: 'account_data_sequence',
  caches: 'cache_invalidation_stream_seq',
  device_lists_stream: 'device_lists_sequence',
  e2e_cross_signing_keys: 'e2e_cross_signing_keys_sequence',
  events: 'events_stream_seq',
  presence_stream: 'presence_stream_sequence',
  push_rules_stream: 'push_rules_stream_sequence',
  pushers: 'pushers_sequence',
  receipts: 'receipts_sequence',
  to_device: 'device_inbox_sequence',
};

/** In PostgreSQL, the name of the schema of Synapse's tables; null where there are none. */
const itsSchema = `(SELECT nspname FROM pg_namespace WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('schema_version')))`;

export async function fingerprint(view: Snapshot, format: DatabaseDump['format']): Promise<Fingerprint> {
  const names =
    format === 'pg_dump'
      ? await view.rows(`SELECT tablename AS name FROM pg_tables WHERE schemaname = ${itsSchema} ORDER BY 1`)
      : await view.rows(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1`);
  const rows = new Map<string, number>();
  for (const { name } of names) {
    const [row] = await view.rows(`SELECT count(*) AS n FROM ${quotedName(String(name))}`);
    rows.set(String(name), Number(row?.['n']));
  }
  const schema =
    format === 'pg_dump'
      ? await view.rows(`SELECT table_name || '.' || column_name || ' ' || data_type AS line FROM information_schema.columns WHERE table_schema = ${itsSchema}
          UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = ${itsSchema}
          UNION ALL SELECT 'invalid ' || indexrelid::regclass FROM pg_index WHERE NOT indisvalid
          ORDER BY 1`)
      : await view.rows(`SELECT type || ' ' || name || ' ' || coalesce(sql, '') AS line FROM sqlite_master ORDER BY 1`);
  return { rows, schema: schema.map(({ line }) => String(line)), sequences: format === 'pg_dump' ? await sequencesOf(view) : new Map() };
}

/** Of a database that Steward knows nothing of: every table, by its schema and name. */
export async function fingerprintOfAny(view: Pick<Snapshot, 'rows'>): Promise<Fingerprint> {
  const own = (schema: string): string => `${schema} !~ '^pg_|^information_schema$'`;
  const names = await view.rows(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE ${own('schemaname')} ORDER BY 1`,
  );
  const rows = new Map<string, number>();
  for (const { name } of names) {
    const [row] = await view.rows(`SELECT count(*) AS n FROM ${String(name)}`);
    rows.set(String(name), Number(row?.['n']));
  }
  const schema = await view.rows(
    `SELECT concat_ws(' ', table_schema, table_name, column_name, data_type) AS line FROM information_schema.columns WHERE ${own('table_schema')}
     UNION ALL SELECT indexdef FROM pg_indexes WHERE ${own('schemaname')}`,
  );
  return { rows, schema: schema.map(({ line }) => String(line)), sequences: new Map() };
}

/** Sequences are not part of a view: they are read before the dump, and a dump may only have later values. */
export async function sequencesOf(view: Snapshot): Promise<Map<string, bigint>> {
  const rows = await view.rows(
    `SELECT sequencename AS name, coalesce(last_value, 0)::text AS value FROM pg_sequences WHERE schemaname = ${itsSchema}`,
  );
  return new Map(rows.map(({ name, value }) => [String(name), BigInt(String(value))]));
}

/**
 * Compares what was loaded with what the database held.
 *
 * @returns how many tables and rows are the same
 * @throws Failure `backup.not-proven` with the first difference
 */
export async function compare(
  scratch: ScratchDatabase,
  live: Fingerprint,
  format: DatabaseDump['format'],
): Promise<{ tables: number; rows: number }> {
  return compareWith(await loadedIn(scratch, format), heldOf(live), scratch, format, live.schema);
}

/**
 * Reads what was loaded.
 *
 * @throws Failure `backup.not-proven` where SQLite finds it damaged
 */
export async function loadedIn(scratch: ScratchDatabase, format: DatabaseDump['format']): Promise<Fingerprint> {
  if (format === 'sqlite') {
    const [check] = await scratch.rows('PRAGMA integrity_check');
    if (check?.['integrity_check'] !== 'ok') throw different(`SQLite finds it damaged: ${String(check?.['integrity_check'])}`);
  }
  return fingerprint(scratch, format);
}

/**
 * As `compare`, with what a record says that it held.
 *
 * @param schema its lines, where they are known
 */
export async function compareWith(
  loaded: Fingerprint,
  held: Held,
  scratch: Pick<Snapshot, 'rows'>,
  format: DatabaseDump['format'],
  schema: readonly string[] = loaded.schema,
): Promise<{ tables: number; rows: number }> {
  const same = assertSame(loaded, held, schema);
  if (format === 'pg_dump') await assertSequencesAhead(scratch, loaded.sequences);
  return same;
}

/** @throws Failure `backup.not-proven` with the first difference */
export function assertSame(loaded: Fingerprint, held: Held, schema: readonly string[]): { tables: number; rows: number } {
  let rows = 0;
  const tables = Object.entries(held.rows);
  for (const [table, want] of tables) {
    const have = loaded.rows.get(table);
    if (have !== want) throw different(have === undefined ? `it lacks the table ${table}` : `${table} has ${have} rows of ${want}`);
    rows += have;
  }
  if (schemaHash(loaded.schema) !== held.schema) {
    const line = schema.find((one) => !loaded.schema.includes(one)) ?? loaded.schema.find((one) => !schema.includes(one));
    throw different(`its schema is another one${line === undefined ? '' : `: ${line.slice(0, 200)}`}`);
  }
  for (const [name, value] of Object.entries(held.sequences)) {
    const have = loaded.sequences.get(name);
    if (have === undefined || have < BigInt(value)) throw different(`its sequence ${name} is at ${String(have)}, before ${value}`);
  }
  return { tables: tables.length, rows };
}

/** Synapse refuses to start on a database whose sequences are behind its streams. */
export async function assertSequencesAhead(scratch: Pick<Snapshot, 'rows'>, sequences: ReadonlyMap<string, bigint>): Promise<void> {
  const positions = await scratch.rows(
    `SELECT stream_name AS name, max(stream_id)::text AS position FROM stream_positions GROUP BY stream_name`,
  );
  for (const { name, position } of positions) {
    const sequence = streamSequences[String(name)];
    const value = sequence === undefined ? undefined : sequences.get(sequence);
    if (value !== undefined && value < BigInt(String(position)))
      throw different(`its sequence ${sequence ?? ''} is behind the stream ${String(name)}`);
  }
}

export const different = (reason: string): Failure => new Failure('backup.not-proven', { attempted: 'prove the backup', reason });
