import { isIntact, isSafe, type Backup } from '../backup/backups.ts';
import type { Beat } from '../backup/heartbeat.ts';
import { dataAt, newestProven } from '../backup/outlook.ts';
import { showDuration } from '../reply/time.ts';
import { fail, ok, skipped, warn, type Finding } from './line.ts';

const hour = 3_600_000;
/** A nightly backup that is late by two hours is told of; a night without one fails. */
const late = 26 * hour;
const tooLate = 50 * hour;

const fix = '`!backup create` makes one; `!job list` and `!schedule list` show why none was made.';

const challenge = '`!backup keys` has a challenge for each who should be able to: `age` opens it, and prints what to type.';

/**
 * How old the newest backup is whose content was restored and compared (L3) and whose objects were read again (L1).
 *
 * @param rows what the catalogue knows, newest first; null where no place for backups is configured
 * @param destinations how many there are; where there are several, whether it is proven in two is told
 * @param now milliseconds since the epoch
 * @param engine what guards the database, where that is not Steward
 * @param recipientsWait whether a change of who can open them waits for its approval
 */
export function lookAtBackups(
  rows: readonly Backup[] | null,
  destinations: number,
  now: number,
  engine: string | null = null,
  recipientsWait = false,
): Finding {
  if (rows === null) return skipped('no place for backups is configured');
  // Of a database that an engine holds there is no content that Steward could prove: the line of the engine looks after it.
  const isEnough = (row: Backup): boolean => (engine === null ? isIntact(row) : (row.objectLevel ?? 0) >= 1);
  const newest = engine === null ? newestProven(rows) : (rows.find((row) => isEnough(row) && row.isOpenable) ?? null);
  if (newest === null) {
    if (rows.some(isEnough)) return fail(`none of ${rows.length} backups is proven: nobody has shown to be able to open one`, challenge);
    return fail(rows.length === 0 ? 'there is no backup' : `none of ${rows.length} backups is proven`, fix);
  }
  const age = now - dataAt(newest);
  const copies = rows.filter(({ id }) => id === newest.id);
  const safety = destinations < 2 ? '' : isSafe(copies) ? '; safe' : `; not safe: proven in ${newest.destination} alone`;
  const what = engine === null ? 'the newest proven backup' : `the newest backup of all but the database, which ${engine} holds`;
  const detail = `${what}, ${newest.id} in ${newest.destination}, is ${showDuration(Math.max(0, age))} old${engine === null ? safety : ''}`;
  if (age >= tooLate) return fail(detail, fix);
  if (age >= late) return { ...warn(detail, fix), alert: 'backup.late' };
  const [last] = rows.toSorted((one, other) => dataAt(other) - dataAt(one));
  if (last !== undefined && isEnough(last) && !last.isOpenable)
    return warn(`${detail}; nobody has shown to be able to open newer ones`, challenge);
  if (recipientsWait) return warn(`${detail}; the configuration names other recipients, and they wait`, '`!backup keys accept`');
  return ok(detail);
}

/** @param beat null where none was due yet, undefined where no address is set */
export function lookAtHeartbeat(beat: Beat | null | undefined, now: number): Finding {
  if (beat === undefined) return skipped('no `backup.heartbeat` is set');
  if (beat === null) return ok('none was due yet');
  const age = showDuration(Math.max(0, now - beat.at));
  if (beat.state === 'failed')
    return fail(
      `the one of ${beat.backup} was not taken: ${beat.reason ?? ''}`,
      'Does the address in `backup.heartbeat.url_file` answer from here? It is sent again every 15 min.',
    );
  return ok(beat.state === 'due' ? `the one of ${beat.backup} is being sent` : `sent ${age} ago for ${beat.backup}`);
}
