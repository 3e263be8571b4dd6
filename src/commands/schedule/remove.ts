import { z } from 'zod';
import { text } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { quote } from '../grammar/tokenise.ts';
import { scheduleName } from './shared.ts';

export const scheduleRemove = defineWrite({
  name: 'schedule remove',
  summary: 'Remove a schedule. A run that is going ends by itself.',
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({ name: scheduleName }),
  result: z.object({ name: z.string() }),
  examples: ['schedule remove health'],

  plan(ctx, args) {
    const schedule = ctx.schedules.get(args.name, `remove the schedule ${args.name}`);
    const options = [
      `--zone=${schedule.timeZone}`,
      ...(schedule.jitter === 0 ? [] : [`--jitter=${schedule.jitter / 1000}s`]),
      ...(schedule.catchUp === 'one' ? [] : [`--catch-up=${schedule.catchUp}`]),
    ];
    return Promise.resolve({
      targets: [{ id: schedule.name }],
      changes: [['run no more: ', { command: schedule.line }, ` (${schedule.due}, ${schedule.timeZone})`]],
      undo: ['schedule add', schedule.name, quote(schedule.due), quote(schedule.line), ...options].join(' '),
      data: { id: schedule.id, name: schedule.name },
    });
  },

  run: (ctx, data: { id: string; name: string }) => {
    ctx.schedules.remove(data);
    return Promise.resolve({});
  },

  readBack: (ctx, data) => Promise.resolve(ctx.schedules.find(data.name)?.id === data.id ? null : { name: data.name }),

  reply: (result) => [text('Removed the schedule ', { strong: result.name }, '.')],
});
