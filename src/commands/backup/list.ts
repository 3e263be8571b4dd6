import { z } from 'zod';
import { code, table, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import type { CommandContext } from '../context.ts';
import { defineList } from '../define.ts';
import { isProven, isSafe } from '../../backup/backups.ts';
import { dataAt } from '../../backup/outlook.ts';
import { pageArguments, pageOf } from '../paging.ts';
import { picture } from './picture.ts';
import { placed, placedShape } from './shared.ts';

const row = z.object({
  id: z.string(),
  /** Those that have it, the best proven first. */
  destinations: z.array(placedShape),
  safe: z.boolean(),
  databaseAt: z.string(),
  bytes: z.number(),
  contentLevel: z.number(),
  objectLevel: z.number().nullable(),
  provenAt: z.string().nullable(),
  pinned: z.boolean(),
});

export const backupList = defineList({
  name: 'backup list',
  summary: 'List backups, newest first, with where they are, and what is proven of their content and of what is stored.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject(pageArguments),
  result: row,
  examples: ['backup list', 'backup list --csv'],

  async *list({ backups }, args, all) {
    yield await Promise.resolve(
      pageOf(backups.grouped(), args, all, (rows) => {
        const [backup] = rows;
        return {
          id: backup.id,
          destinations: rows.map(placed),
          safe: isSafe(rows),
          databaseAt: new Date(backup.databaseAt ?? backup.startedAt).toISOString(),
          bytes: backup.bytes ?? 0,
          contentLevel: backup.contentLevel ?? 1,
          objectLevel: backup.objectLevel,
          provenAt: backup.provenAt === null ? null : new Date(backup.provenAt).toISOString(),
          pinned: rows.some(({ pinned }) => pinned),
        };
      }),
    );
  },

  reply: (page, args, ctx) => {
    if (page.rows.length === 0) return [text('No backups. ', { command: 'backup create' }, ' makes one.')];
    const more = page.next == null ? [] : [text('More with ', { command: `backup list --limit=${args.limit} --from=${page.next}` }, '.')];
    return [
      text({ strong: 'Backups' }, `: ${page.total ?? page.rows.length}`),
      ...pictureParts(ctx),
      table(
        [{ title: 'Backup' }, { title: 'Taken' }, { title: 'Size', align: 'right' }, { title: 'Content' }, { title: 'Stored in' }],
        page.rows.map((backup): Line[] => [
          [{ code: backup.id }, `${backup.safe ? ' 🛡' : ''}${backup.pinned ? ' 📌' : ''}`],
          [{ time: Date.parse(backup.databaseAt) }],
          [sizeText(backup.bytes)],
          [`content L${backup.contentLevel}`],
          [
            backup.destinations
              .map(({ name, objectLevel }) => (objectLevel === null ? `❌ ${name} not proven` : `${name} L${objectLevel}`))
              .join(', '),
          ],
        ]),
      ),
      ...more,
    ];
  },
});

/** All that there are, whichever page is asked for. */
function pictureParts({ backups, clock }: CommandContext): Part[] {
  const all = backups.grouped().map((rows) => ({ at: dataAt(rows[0]), bytes: rows[0].bytes ?? 0, proven: rows.some(isProven) }));
  return [code(picture(all, clock.now())), text('A character is 24 h: █ proven, ░ not proven, · none. A bar is what a backup added.')];
}
