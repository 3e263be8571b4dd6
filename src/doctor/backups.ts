import { showDuration } from '../reply/time.ts';
import type { BackupRow } from '../store/backups.ts';
import { fail, ok, skipped, warn, type Finding } from './line.ts';

const hour = 3_600_000;
/** A nightly backup that is late by two hours is told of; a night without one fails. */
const late = 26 * hour;
const tooLate = 50 * hour;

const fix = '`!backup create` makes one; `!job list` and `!schedule list` show why none was made.';

/**
 * How old the newest backup is whose content was restored and compared (L3) and whose objects were read again (L1).
 *
 * @param rows what the catalogue knows, newest first; null where no place for backups is configured
 * @param now milliseconds since the epoch
 */
export function lookAtBackups(rows: readonly BackupRow[] | null, now: number): Finding {
  if (rows === null) return skipped('no place for backups is configured');
  const proven = rows.filter(({ contentLevel, objectLevel }) => (contentLevel ?? 0) >= 3 && (objectLevel ?? 0) >= 1);
  const at = ({ databaseAt, startedAt }: BackupRow): number => databaseAt ?? startedAt;
  const [newest] = proven.toSorted((one, other) => at(other) - at(one));
  if (newest === undefined) return fail(rows.length === 0 ? 'there is no backup' : `none of ${rows.length} backups is proven`, fix);
  const age = now - at(newest);
  const detail = `the newest proven backup, ${newest.id} in ${newest.destination}, is ${showDuration(Math.max(0, age))} old`;
  if (age >= tooLate) return fail(detail, fix);
  return age >= late ? warn(detail, fix) : ok(detail);
}
