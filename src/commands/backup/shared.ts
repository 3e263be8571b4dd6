import { z } from 'zod';
import type { BackupRow } from '../../store/backups.ts';

export const backupArgument = z
  .string()
  .regex(/^(latest|\d{8}_\d{6})$/, 'latest, or an id such as 20261122_021500')
  .describe('Which backup.')
  .meta({ positional: 0, value: 'BACKUP' });

export const destinationArgument = z
  .string()
  .min(1, 'not empty')
  .optional()
  .describe('Name of a destination; when left out, where the backup is best proven.')
  .meta({ value: 'DESTINATION' });

/** What each level of content means: what was copied. */
export const contentWords: Readonly<Record<number, string>> = {
  1: 'hashed on its way',
  2: 'read to its end',
  3: 'restored into another database and compared',
};

/** What each level of the stored object means: what lies there. */
export const objectWords: Readonly<Record<number, string>> = {
  0: 'all there',
  1: 'read and hashed',
  2: 'opened and read to its end',
};

export function levelText(level: number | null, words: Readonly<Record<number, string>>, none: string): string {
  return level === null ? none : `L${level}, ${words[level] ?? ''}`;
}

export const safeText = (safe: boolean): string => (safe ? 'yes: proven in two destinations' : 'no: proven in fewer than two destinations');

/** Where a backup lies, for `--json`. */
export const placedShape = z.object({ name: z.string(), objectLevel: z.number().nullable(), pinned: z.boolean() });

export const placed = ({ destination, objectLevel, pinned }: BackupRow): z.output<typeof placedShape> => ({
  name: destination,
  objectLevel,
  pinned,
});
