import { z } from 'zod';
import { text } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument } from './shared.ts';

export const backupPin = defineWrite({
  name: 'backup pin',
  summary: 'Keep a backup, whatever `backup prune` would do, in every destination that has it; `--remove` takes the pin away.',
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    backup: backupArgument,
    from: destinationArgument.describe('Name of the only destination; all that have it when left out.'),
    remove: z.boolean().default(false).describe('Take the pin away.'),
  }),
  result: z.object({ id: z.string(), destinations: z.array(z.string()), pinned: z.boolean() }),
  examples: ['backup pin latest', 'backup pin latest --remove'],

  plan({ backups }, args) {
    const rows = backups.all(args.backup, args.from);
    const [{ id }] = rows;
    const words = `backup pin ${id}${args.from === undefined ? '' : ` --from=${args.from}`}`;
    const destinations = rows.map(({ destination }) => destination);
    return Promise.resolve({
      targets: [{ id: `backup ${id}` }],
      changes: [[args.remove ? 'take the pin from ' : 'pin ', { code: id }, ` in ${destinations.join(', ')}`]],
      undo: args.remove ? words : `${words} --remove`,
      data: { id, destinations, pinned: !args.remove },
    });
  },

  run({ backups }, { id, destinations, pinned }) {
    backups.pin(id, destinations, pinned);
    return Promise.resolve({});
  },

  readBack({ backups }, { id, destinations, pinned }) {
    const rows = backups.all(id).filter(({ destination }) => destinations.includes(destination));
    return Promise.resolve(rows.every((row) => row.pinned === pinned) ? { id, destinations, pinned } : null);
  },

  reply: ({ id, pinned }) => [
    pinned
      ? text({ strong: 'Pinned' }, ' ', { code: id }, ': it is never pruned.')
      : text({ strong: 'Not pinned' }, ' any more: ', { code: id }, ' is kept as long as ', { code: 'backup.retention' }, ' says.'),
  ],
});
