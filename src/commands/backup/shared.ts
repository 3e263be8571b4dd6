import { z } from 'zod';
import type { Verified } from '../../backup/backups.ts';
import { text, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
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

/** What a backup could not take along. */
export function absentPart(paths: readonly string[]): Part[] {
  if (paths.length === 0) return [];
  return [
    text(
      '⚠️ Not in it, as it is not there, though the homeserver’s configuration names it: ',
      { code: paths.join(' ') },
      '. Where relative paths start says ',
      {
        code: 'stack.working_dir',
      },
      '.',
    ),
  ];
}

/** What each level of content means: what was copied. */
export const contentWords: Readonly<Record<number, string>> = {
  1: 'hashed on its way',
  2: 'read to its end',
  3: 'restored into another database and compared',
  4: 'restored and compared, all media hashed',
};

/** What each level of the stored object means: what lies there. */
export const objectWords: Readonly<Record<number, string>> = {
  0: 'all there',
  1: 'read and hashed',
  2: 'opened and read to its end',
  3: 'restored into another database and compared',
  4: 'restored and compared, media too',
  5: 'restored, and a homeserver was started on it',
};

/** What a look at a stored backup has shown: `is what was written: L1, read and hashed`. At level 0 nothing of it was read. */
export const objectFound = (level: number): string =>
  level === 0 ? 'has all its objects, in their sizes: L0; nothing was read' : `is what was written: L${level}, ${objectWords[level] ?? ''}`;

/** What opening a stored backup has shown. */
export const openedShape = z.object({
  destination: z.string(),
  objectLevel: z.number(),
  /** Why it is no higher one. */
  missing: z.string().nullable(),
  objects: z.number(),
  bytes: z.number(),
  tables: z.number(),
  rows: z.number(),
  media: z.number().nullable(),
  mediaMissing: z.number().nullable(),
  mediaWrong: z.number().nullable(),
});

export function openedOf(
  { level, missing, tables, rows, media, manifest }: Verified,
  { destination }: Pick<BackupRow, 'destination'>,
): z.output<typeof openedShape> {
  return {
    ...{ destination, objectLevel: level, missing, tables, rows },
    objects: manifest.objects.length + manifest.epochs.length,
    bytes: manifest.objects.reduce((sum, { stored }) => sum + stored.bytes, 0),
    media: media?.files ?? null,
    mediaMissing: media?.missing ?? null,
    mediaWrong: media?.wrong ?? null,
  };
}

/** `20261122_021500 in disk is what was written: L1, read and hashed (9 objects, 1.2 MB).` */
export function openedPart(id: string, { destination, objectLevel, missing, objects, bytes }: z.output<typeof openedShape>): Part {
  const further = missing === null ? '' : `; not further: ${missing}`;
  return text({ strong: id }, ` in ${destination} ${objectFound(objectLevel)} (${objects} objects, ${sizeText(bytes)})${further}.`);
}

export function levelText(level: number | null, words: Readonly<Record<number, string>>, none: string): string {
  return level === null ? none : `L${level}, ${words[level] ?? ''}`;
}

/** Why what is intact is not proven. */
export const notOpenable = (isOpenable: boolean): Part[] =>
  isOpenable
    ? []
    : [
        text(
          '⚠️ ',
          { strong: 'Not proven: nobody has shown to be able to open it. ' },
          { command: 'backup keys' },
          ' has a challenge for each who should be.',
        ),
      ];

export const changeWaits = 'The configuration names other recipients of backups, and backups go on to those of before. ';

export const openableField = z.boolean().describe('Whether somebody has shown to be able to open it.');

export const safeText = (safe: boolean): string => (safe ? 'yes: proven in two destinations' : 'no: proven in fewer than two destinations');

/** Where a backup lies, for `--json`. */
export const placedShape = z.object({ name: z.string(), objectLevel: z.number().nullable(), pinned: z.boolean() });

export const placed = ({ destination, objectLevel, pinned }: BackupRow): z.output<typeof placedShape> => ({
  name: destination,
  objectLevel,
  pinned,
});
