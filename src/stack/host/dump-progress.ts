import type { DumpProgress } from '../stack.ts';
import { onServer, rowsOf, type Access, type Row } from './postgres.ts';

/**
 * How far a `pg_dump` is, as the server sees it: `pg_stat_progress_copy` (PostgreSQL 14 and newer), for the connections of that
 * application name. It copies tables in the order of their names.
 *
 * @returns null where none is under way
 */
export async function dumpProgress(access: Access, applicationName: string): Promise<DumpProgress | null> {
  return onServer(access, async (client) => {
    const [now] = await rowsOf(
      client,
      `SELECT copy.relid::text AS id, relname AS table, bytes_processed::text AS bytes, tuples_processed::text AS rows
       FROM pg_stat_progress_copy AS copy JOIN pg_stat_activity USING (pid) JOIN pg_class ON pg_class.oid = copy.relid
       WHERE copy.datname = current_database() AND application_name = '${applicationName}'`,
    );
    if (now === undefined) return null;
    const tables = await rowsOf(
      client,
      `SELECT oid::text AS id, pg_table_size(oid)::text AS bytes, greatest(reltuples, 1)::float8 AS rows
       FROM pg_class WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = ${String(now['id'])}) ORDER BY relname COLLATE "C"`,
    );
    return { table: String(now['table']), bytes: Number(now['bytes']), share: shareOf(tables, now) };
  });
}

/** @param tables in the order in which they are copied */
function shareOf(tables: readonly Row[], now: Row): number {
  const sizes = tables.map(({ bytes }) => Number(bytes));
  const at = tables.findIndex(({ id }) => id === now['id']);
  const sum = (of: readonly number[]): number => of.reduce((total, size) => total + size, 0);
  const ofThis = Math.min(1, Number(now['rows']) / Number(tables[at]?.['rows']));
  const done = sum(sizes.slice(0, Math.max(0, at))) + (sizes[at] ?? 0) * (Number.isNaN(ofThis) ? 0 : ofThis);
  return done / Math.max(1, sum(sizes));
}
