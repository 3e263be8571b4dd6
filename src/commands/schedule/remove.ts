import { z } from 'zod';
import type { AuditActor } from '../../audit/audit.ts';
import { text } from '../../reply/parts.ts';
import { giversOf } from '../../workflow/standing.ts';
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
    const standing = ctx.standing.of(schedule.id);
    const options = [
      `--zone=${schedule.timeZone}`,
      ...(schedule.jitter === 0 ? [] : [`--jitter=${schedule.jitter / 1000}s`]),
      ...(standing === null ? [] : [`--max-objects=${standing.maxObjects}`]),
      ...(schedule.catchUp === 'one' ? [] : [`--catch-up=${schedule.catchUp}`]),
    ];
    return Promise.resolve({
      targets: [{ id: schedule.name }],
      changes: [
        ['run no more: ', { command: schedule.line }, ` (${schedule.due}, ${schedule.timeZone})`],
        ...(standing === null ? [] : [[`end the approval of ${giversOf(standing).join(' and ')}: added again, it needs one again`]]),
      ],
      undo: ['schedule add', schedule.name, quote(schedule.due), quote(schedule.line), ...options].join(' '),
      data: { id: schedule.id, name: schedule.name },
    });
  },

  run: (ctx, data: { id: string; name: string }) => {
    const { requester } = ctx;
    const by: AuditActor = requester.kind === 'shell' ? requester : { ...requester, trust: ctx.message?.trust ?? { kind: 'plain' } };
    ctx.schedules.remove(data.id, by);
    return Promise.resolve({});
  },

  readBack: (ctx, data) => Promise.resolve(ctx.schedules.find(data.name)?.id === data.id ? null : { name: data.name }),

  reply: (result) => [text('Removed the schedule ', { strong: result.name }, '.')],
});
