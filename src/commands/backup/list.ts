import { z } from 'zod';
import { table, text, type Line } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { countArgument } from '../arguments.ts';
import { defineList } from '../define.ts';

const row = z.object({
  id: z.string(),
  destination: z.string(),
  databaseAt: z.string(),
  bytes: z.number(),
  contentLevel: z.number(),
  objectLevel: z.number().nullable(),
  provenAt: z.string().nullable(),
  pinned: z.boolean(),
});

export const backupList = defineList({
  name: 'backup list',
  summary: 'List backups, newest first, with what is proven of their content and of what is stored.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({
    limit: countArgument(1, 1000).prefault('20').describe('Rows on a page.').meta({ value: 'N' }),
    from: countArgument(0, 999_999_999).prefault('0').describe('Where the page starts.').meta({ value: 'N' }),
  }),
  result: row,
  examples: ['backup list', 'backup list --csv'],

  async *list({ backups }, args, all) {
    const found = await Promise.resolve(backups.list());
    const rows = (all ? found : found.slice(args.from, args.from + args.limit)).map((backup) => ({
      id: backup.id,
      destination: backup.destination,
      databaseAt: new Date(backup.databaseAt ?? backup.startedAt).toISOString(),
      bytes: backup.bytes ?? 0,
      contentLevel: backup.contentLevel ?? 1,
      objectLevel: backup.objectLevel,
      provenAt: backup.provenAt === null ? null : new Date(backup.provenAt).toISOString(),
      pinned: backup.pinned,
    }));
    yield { rows, total: found.length, next: args.from + args.limit < found.length ? String(args.from + args.limit) : null };
  },

  reply: (page, args) => {
    if (page.rows.length === 0) return [text('No backups. ', { command: 'backup create' }, ' makes one.')];
    const more = page.next == null ? [] : [text('More with ', { command: `backup list --limit=${args.limit} --from=${page.next}` }, '.')];
    return [
      text({ strong: 'Backups' }, `: ${page.total ?? page.rows.length}`),
      table(
        [{ title: 'Backup' }, { title: 'Taken' }, { title: 'Size', align: 'right' }, { title: 'Content' }, { title: 'Stored' }],
        page.rows.map((backup): Line[] => [
          [{ code: backup.id }, ` ${backup.destination}${backup.pinned ? ' 📌' : ''}`],
          [{ time: Date.parse(backup.databaseAt) }],
          [sizeText(backup.bytes)],
          [`content L${backup.contentLevel}`],
          [backup.objectLevel === null ? '❌ stored not proven' : `stored L${backup.objectLevel}`],
        ]),
      ),
      ...more,
    ];
  },
});
