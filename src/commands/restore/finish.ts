import { z } from 'zod';
import { text, type Part } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { restoreArgument, settled } from './shared.ts';

export const restoreFinish = defineWrite({
  name: 'restore finish',
  summary: 'Remove what a restore keeps aside: after a cutover the old data, else the copy that was loaded.',
  tier: 'destructive',
  lock: 'restore',
  bulk: false,
  args: z.strictObject({ restore: restoreArgument }),
  result: z.object({ id: z.string(), removed: z.enum(['old data', 'loaded copy']) }),
  examples: ['restore finish latest'],

  plan({ restores }, args) {
    const row = restores.inState(args.restore, 'finish', ['live', 'prepared', 'undone', 'finishing']);
    const isLive = row.state === 'live' || row.step === 'live';
    return Promise.resolve({
      targets: [{ id: `restore ${row.id}` }],
      changes: [
        [isLive ? 'remove the database and the files that were live before ' : 'remove the copy that was loaded for ', { strong: row.id }],
      ],
      permanent: isLive ? [['there is no way back to what was live before the cutover']] : [],
      data: { id: row.id, isLive },
    });
  },

  async run({ restores }, data) {
    await restores.finish(data.id);
    return {};
  },

  async readBack({ restores, stack }, data) {
    const row = await settled(restores, data.id);
    const { prepared, kept } = await stack.restores.databases(row.id);
    if (row.state !== 'finished' || prepared || kept) return null;
    return { id: row.id, removed: data.isLive ? ('old data' as const) : ('loaded copy' as const) };
  },

  reply: (result): Part[] => [
    text({ strong: 'Finished' }, ` the restore ${result.id}: the ${result.removed} ${result.removed === 'old data' ? 'are' : 'is'} gone.`),
  ],
});
