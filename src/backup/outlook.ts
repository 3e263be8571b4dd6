import { sizeText } from '../reply/size.ts';
import { showDuration } from '../reply/time.ts';
import type { BackupRow } from '../store/backups.ts';
import type { RestoreRow } from '../store/restores.ts';
import { isProven } from './backups.ts';
import type { Measured } from './runs.ts';

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
export function newestProven(rows: readonly BackupRow[]): BackupRow | null {
  const [newest] = rows.filter(isProven).toSorted((one, other) => dataAt(other) - dataAt(one));
  return newest ?? null;
}

/** When the data of a backup were as they are in it. */
export function dataAt({ databaseAt, startedAt }: Pick<BackupRow, 'databaseAt' | 'startedAt'>): number {
  return databaseAt ?? startedAt;
}

/**
 * From the newest proven backup, and from what was measured: the last restore of a database or else the last proof, which loads
 * one too; the time that the last cutover took; and how fast the largest backup was written, for media.
 *
 * @param rows what the catalogue knows
 * @param made backups that were made, newest first
 * @param restores newest first
 * @param now milliseconds since the epoch
 */
export function outlook(rows: readonly BackupRow[], made: readonly Measured[], restores: readonly RestoreRow[], now: number): Outlook {
  const newest = newestProven(rows);
  if (newest === null) return { backup: null, loses: null, takes: null, by: '' };
  const loses = Math.max(0, now - dataAt(newest));
  const own = made.find(({ id }) => id === newest.id);
  const load = loadOf(own, made, restores);
  if (load === null) return { backup: newest, loses, takes: null, by: '' };
  const media = mediaOf(own, made);
  const swap = restores.find(({ downtime }) => downtime !== null);
  return {
    ...{ backup: newest, loses },
    takes: load.ms + (media?.ms ?? 0) + (swap?.downtime ?? 0),
    by: [load.by, ...(media === null ? [] : [media.by]), ...(swap === undefined ? [] : [`the swap of ${swap.id}`])].join(', '),
  };
}

/** The time to load the database: of a restore that was done, in proportion to the size; else of the proof. */
function loadOf(own: Measured | undefined, made: readonly Measured[], restores: readonly RestoreRow[]): { ms: number; by: string } | null {
  const restored = restores.find(({ report, parts }) => report !== null && parts.includes('database'));
  if (restored?.report != null) {
    const of = made.find(({ id }) => id === restored.backup);
    const growth = own === undefined || of === undefined || of.databaseBytes === 0 ? 1 : own.databaseBytes / of.databaseBytes;
    return { ms: restored.report.seconds * growth * 1000, by: `the restore of ${restored.backup}` };
  }
  // A small one is proven in no time that is worth counting.
  const proven = [own, ...made].find((each) => each !== undefined && each.contentLevel >= 3);
  return proven === undefined ? null : { ms: proven.proofSeconds * 1000, by: `the proof of ${proven.id}` };
}

/** The time to put all media back, as after the loss of the disk. */
function mediaOf(own: Measured | undefined, made: readonly Measured[]): { ms: number; by: string } | null {
  // What wrote most tells the pace best: of a small one most of the time is overhead.
  const [largest] = made.filter(({ seconds }) => seconds > 0).toSorted((one, other) => other.bytes - one.bytes);
  if (own === undefined || largest === undefined || own.mediaBytes === 0 || largest.bytes === 0) return null;
  const perSecond = largest.bytes / largest.seconds;
  return { ms: (own.mediaBytes / perSecond) * 1000, by: `${sizeText(own.mediaBytes)} of media at ${sizeText(perSecond)}/s` };
}

/** The sentence that an admin needs. */
export function outlookText({ takes, loses }: Outlook): string {
  if (loses === null) return 'A restore now is not possible: no backup is proven.';
  const time = takes === null ? 'take a time that nobody has measured yet' : `take ${showDuration(takes)}`;
  return `A restore now would ${time} and lose ${showDuration(loses)}.`;
}
