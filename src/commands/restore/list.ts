import { z } from 'zod';
import { table, text, type Line } from '../../reply/parts.ts';
import { defineList } from '../define.ts';
import { pageArguments, pageOf } from '../paging.ts';
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
  args: z.strictObject(pageArguments),
  result: row,
  examples: ['restore list'],

  async *list({ restores }, args, all) {
    yield await Promise.resolve(
      pageOf(restores.list(), args, all, (restore) => ({
        id: restore.id,
        backup: restore.backup,
        state: restore.state,
        parts: [...restore.parts],
        databaseAt: restore.report === null ? null : new Date(restore.report.databaseAt).toISOString(),
        cutOverAt: restore.cutOverAt === null ? null : new Date(restore.cutOverAt).toISOString(),
        downtimeSeconds: restore.downtime === null ? null : Math.round(restore.downtime / 10) / 100,
        next: (next[restore.state] ?? []).map((command) => `${command} ${restore.id}`),
      })),
    );
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
