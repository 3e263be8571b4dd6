import { z } from 'zod';
import { text } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument } from './shared.ts';

export const backupPin = defineWrite({
  name: 'backup pin',
  summary: 'Keep a backup, whatever `backup prune` would do; `--remove` takes the pin away.',
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    backup: backupArgument,
    from: destinationArgument,
    remove: z.boolean().default(false).describe('Take the pin away.'),
  }),
  result: z.object({ id: z.string(), destination: z.string(), pinned: z.boolean() }),
  examples: ['backup pin latest', 'backup pin latest --remove'],

  plan({ backups }, args) {
    const { id, destination } = backups.find(args.backup, args.from);
    const words = `backup pin ${id} --from=${destination}`;
    return Promise.resolve({
      targets: [{ id: `backup ${id}` }],
      changes: [[args.remove ? 'take the pin from ' : 'pin ', { code: id }, ` in ${destination}`]],
      undo: args.remove ? words : `${words} --remove`,
      data: { id, destination, pinned: !args.remove },
    });
  },

  run({ backups }, { id, destination, pinned }) {
    backups.pin(backups.find(id, destination), pinned);
    return Promise.resolve({});
  },

  readBack({ backups }, { id, destination, pinned }) {
    return Promise.resolve(backups.find(id, destination).pinned === pinned ? { id, destination, pinned } : null);
  },

  reply: ({ id, pinned }) => [
    pinned
      ? text({ strong: 'Pinned' }, ' ', { code: id }, ': it is never pruned.')
      : text({ strong: 'Not pinned' }, ' any more: ', { code: id }, ' is kept as long as ', { code: 'backup.retention' }, ' says.'),
  ],
});
