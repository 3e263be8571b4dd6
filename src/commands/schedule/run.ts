import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text } from '../../reply/parts.ts';
import { atLeast } from '../../workflow/tier.ts';
import { defineWrite, groupOf } from '../define.ts';
import { assertMayRunAsMaker } from '../scheduled.ts';
import { assertMayRequestInner, scheduleName } from './shared.ts';

export const scheduleRun = defineWrite({
  name: 'schedule run',
  summary: 'Run the command of a schedule now, out of turn. Its result is a message of its own.',
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({ name: scheduleName }),
  result: z.object({ name: z.string(), command: z.string() }),
  examples: ['schedule run health'],

  plan(ctx, args) {
    const attempted = `run the schedule ${args.name}`;
    const schedule = ctx.schedules.get(args.name, attempted);
    const command = ctx.registry.find(schedule.command);
    if (!ctx.schedules.run) throw new Failure('schedule.no-daemon', { attempted });
    if (schedule.pausedAt !== null) throw new Failure('schedule.paused', { attempted });
    if (schedule.askedAt !== null || ctx.schedules.isRunning(schedule)) throw new Failure('schedule.running', { attempted });
    if (command !== undefined) assertMayRequestInner(ctx, command, schedule.tier, attempted);
    assertMayRunAsMaker(ctx, schedule, attempted);
    return Promise.resolve({
      targets: [{ id: schedule.name }],
      changes: [['run now: ', { command: schedule.line }]],
      ...(atLeast(schedule.tier, 'confirmed') ? { raise: { tier: schedule.tier, reason: `\`${schedule.command}\` is` } } : {}),
      ...(command !== undefined && atLeast(schedule.tier, 'destructive') ? { grants: groupOf(command) } : {}),
      data: { id: schedule.id, name: schedule.name, line: schedule.line },
    });
  },

  run: (ctx, data: { id: string; name: string; line: string }) => Promise.resolve({ at: ctx.schedules.ask(data) }),

  readBack: (ctx, data, note) => {
    const schedule = ctx.schedules.find(data.name);
    const asked = schedule !== null && (schedule.askedAt !== null || ctx.schedules.hasRun(schedule, Number(note['at'])));
    return Promise.resolve(asked ? { name: data.name, command: data.line } : null);
  },

  reply: (result) => [text('Running ', { strong: result.name }, ' now: ', { command: result.command }, '. Its result comes by itself.')],
});
