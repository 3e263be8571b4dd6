import { sizeText } from '../reply/size.ts';
import { showDuration } from '../reply/time.ts';
import type { BackupRow } from '../store/backups.ts';
import type { RestoreRow } from '../store/restores.ts';
import { isProven, type Backup } from './backups.ts';
import type { Drilled, Measured } from './runs.ts';

/** What a restore would come to if it were begun now. */
export interface Outlook {
  /** The backup that it would take, or null where none is proven. */
  backup: Pick<BackupRow, 'id' | 'destination'> | null;
  /** Age of the newest data that would come back, milliseconds; null where nothing would. */
  loses: number | null;
  /** Milliseconds, from what was measured; null where nothing was. */
  takes: number | null;
  /** What that was measured by, in words. */
  by: string;
}

/** The proven backup with the newest data, or null. */
export function newestProven(rows: readonly Backup[]): Backup | null {
  const [newest] = rows.filter(isProven).toSorted((one, other) => dataAt(other) - dataAt(one));
  return newest ?? null;
}

/** When the data of a backup were as they are in it. */
export function dataAt({ databaseAt, startedAt }: Pick<BackupRow, 'databaseAt' | 'startedAt'>): number {
  return databaseAt ?? startedAt;
}

/**
 * From the newest proven backup, and from what was measured: the last restore or drill, whichever is newer, or else the last proof,
 * which loads a database too; the time that the last cutover took, or the start of a homeserver in the drill; and how fast the
 * largest drill read media, or else the largest backup was written.
 *
 * @param rows what the catalogue knows
 * @param made backups that were made, newest first
 * @param restores newest first
 * @param drills newest first
 * @param now milliseconds since the epoch
 */
export function outlook(
  rows: readonly Backup[],
  made: readonly Measured[],
  restores: readonly RestoreRow[],
  drills: readonly Drilled[],
  now: number,
): Outlook {
  const newest = newestProven(rows);
  if (newest === null) return { backup: null, loses: null, takes: null, by: '' };
  const loses = Math.max(0, now - dataAt(newest));
  // Of one that its making did not end well, or that was copied here, nothing was kept: it is about as large as the newest.
  const own = made.find(({ id }) => id === newest.id) ?? made[0];
  const load = loadOf(own, made, restores, drills);
  if (load === null) return { backup: newest, loses, takes: null, by: '' };
  const media = mediaOf(own, made, drills);
  const start = startOf(restores, drills);
  const parts = [load, media, start].filter((part) => part !== null);
  return {
    ...{ backup: newest, loses },
    takes: parts.reduce((sum, { ms }) => sum + ms, 0),
    by: parts.map(({ by }) => by).join(', '),
  };
}

interface Reckoned {
  ms: number;
  /** What by, in words. */
  by: string;
}

/** The time to load the database: of a restore or drill that was done, in proportion to the size; else of the proof. */
function loadOf(
  own: Measured | undefined,
  made: readonly Measured[],
  restores: readonly RestoreRow[],
  [drill]: readonly Drilled[],
): Reckoned | null {
  const restored = restores.find(({ report, parts }) => report !== null && parts.includes('database'));
  if (drill !== undefined && (restored === undefined || Date.parse(drill.at) > restored.changedAt)) {
    const ms = secondsOf(drill, 'load the database', 'compare it') * 1000;
    return { ms: ms * growthOf(own?.databaseBytes, drill.databaseBytes), by: `the drill of ${drill.id}` };
  }
  if (restored?.report != null) {
    const of = made.find(({ id }) => id === restored.backup);
    const ms = restored.report.seconds * 1000;
    return { ms: ms * growthOf(own?.databaseBytes, of?.databaseBytes), by: `the restore of ${restored.backup}` };
  }
  // A small one is proven in no time that is worth counting.
  const proven = [own, ...made].find((each) => each !== undefined && each.contentLevel >= 3);
  return proven === undefined ? null : { ms: proven.proofSeconds * 1000, by: `the proof of ${proven.id}` };
}

const growthOf = (now: number | undefined, then: number | undefined): number =>
  now === undefined || then === undefined || then === 0 ? 1 : now / then;

const secondsOf = ({ phases }: Drilled, ...names: string[]): number =>
  phases.filter(({ name }) => names.includes(name)).reduce((sum, { seconds }) => sum + seconds, 0);

/** The time that the homeserver is away, or takes to start. */
function startOf(restores: readonly RestoreRow[], [drill]: readonly Drilled[]): Reckoned | null {
  const swap = restores.find(({ downtime }) => downtime !== null);
  if (swap !== undefined) return { ms: swap.downtime ?? 0, by: `the swap of ${swap.id}` };
  return drill === undefined ? null : { ms: secondsOf(drill, 'start Synapse') * 1000, by: 'its start' };
}

/** The time to put all media back, as after the loss of the disk. */
function mediaOf(own: Measured | undefined, made: readonly Measured[], drills: readonly Drilled[]): Reckoned | null {
  const paces = [
    ...drills.map((drill) => ({ isRead: true, bytes: drill.mediaBytes, seconds: secondsOf(drill, 'read the media') })),
    ...made.map(({ bytes, seconds }) => ({ isRead: false, bytes, seconds })),
  ].filter(({ bytes, seconds }) => seconds > 0 && bytes > 0);
  // What was read tells more than what was written. What moved most tells the pace best: of a small one most of the time is overhead.
  const [largest] = paces.toSorted((one, other) => Number(other.isRead) - Number(one.isRead) || other.bytes - one.bytes);
  if (own === undefined || largest === undefined || own.mediaBytes === 0) return null;
  const perSecond = largest.bytes / largest.seconds;
  return { ms: (own.mediaBytes / perSecond) * 1000, by: `${sizeText(own.mediaBytes)} of media at ${sizeText(perSecond)}/s` };
}

/** The sentence that an admin needs. */
export function outlookText({ takes, loses }: Outlook): string {
  if (loses === null) return 'Nobody knows what a restore now would bring: no backup is proven.';
  const time = takes === null ? 'take a time that nobody has measured yet' : `take ${showDuration(takes)}`;
  return `A restore now would ${time} and lose ${showDuration(loses)}.`;
}
