import { z } from 'zod';
import { table, text, type Line } from '../../reply/parts.ts';
import { countArgument } from '../arguments.ts';
import { defineList } from '../define.ts';
import { stateWords } from '../../backup/restores.ts';
import type { RestoreRow } from '../../store/restores.ts';

const row = z.object({
  id: z.string(),
  backup: z.string(),
  state: z.string(),
  parts: z.array(z.string()),
  databaseAt: z.string().nullable(),
  cutOverAt: z.string().nullable(),
  downtimeSeconds: z.number().nullable(),
  next: z.array(z.string()),
});

/** What can be done with one, without its id. */
const next: Partial<Record<RestoreRow['state'], readonly string[]>> = {
  prepared: ['restore cutover', 'restore finish'],
  live: ['restore undo', 'restore finish'],
  undone: ['restore cutover', 'restore finish'],
  'cutting-over': ['restore undo'],
  undoing: ['restore undo'],
  finishing: ['restore finish'],
};

export const restoreList = defineList({
  name: 'restore list',
  summary: 'List restores, newest first: how far each is, and what can be done next.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({
    limit: countArgument(1, 1000).prefault('20').describe('Rows on a page.').meta({ value: 'N' }),
    from: countArgument(0, 999_999_999).prefault('0').describe('Where the page starts.').meta({ value: 'N' }),
  }),
  result: row,
  examples: ['restore list'],

  async *list({ restores }, args, all) {
    const found = await Promise.resolve(restores.list());
    const rows = (all ? found : found.slice(args.from, args.from + args.limit)).map((restore) => ({
      id: restore.id,
      backup: restore.backup,
      state: restore.state,
      parts: [...restore.parts],
      databaseAt: restore.report === null ? null : new Date(restore.report.databaseAt).toISOString(),
      cutOverAt: restore.cutOverAt === null ? null : new Date(restore.cutOverAt).toISOString(),
      downtimeSeconds: restore.downtime === null ? null : Math.round(restore.downtime / 10) / 100,
      next: (next[restore.state] ?? []).map((command) => `${command} ${restore.id}`),
    }));
    yield { rows, total: found.length, next: args.from + args.limit < found.length ? String(args.from + args.limit) : null };
  },

  reply: (page, args) => {
    if (page.rows.length === 0) return [text('No restores. ', { command: 'restore prepare latest' }, ' begins one.')];
    const more = page.next == null ? [] : [text('More with ', { command: `restore list --limit=${args.limit} --from=${page.next}` }, '.')];
    return [
      text({ strong: 'Restores' }, `: ${page.total ?? page.rows.length}`),
      table(
        [{ title: 'Restore' }, { title: 'Of backup' }, { title: 'State' }, { title: 'Next' }],
        page.rows.map((restore): Line[] => [
          [{ code: restore.id }],
          [restore.backup],
          [stateWords[restore.state as RestoreRow['state']]],
          restore.next.flatMap((command, at): Line => [at === 0 ? '' : ' or ', { command }]),
        ]),
      ),
      ...more,
    ];
  },
});
