import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { assertMayRunAsMaker } from '../scheduled.ts';
import { nextLine, scheduleName, scheduleShape, shapeOf } from './shared.ts';

export const schedulePause = defineWrite({
  name: 'schedule pause',
  summary: 'Let a schedule run no more until it is resumed.',
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({ name: scheduleName }),
  result: scheduleShape,
  examples: ['schedule pause health'],

  plan(ctx, args) {
    const attempted = `pause the schedule ${args.name}`;
    const schedule = ctx.schedules.get(args.name, attempted);
    if (schedule.pausedAt !== null) throw new Failure('schedule.paused', { attempted });
    return Promise.resolve({
      targets: [{ id: schedule.name }],
      changes: [['pause ', { command: schedule.line }, ` (${schedule.due}, ${schedule.timeZone})`]],
      undo: `schedule resume ${schedule.name}`,
      data: { id: schedule.id, name: schedule.name },
    });
  },

  run: (ctx, data: { id: string; name: string }) => {
    ctx.schedules.pause(data);
    return Promise.resolve({});
  },

  readBack: (ctx, data) => {
    const schedule = ctx.schedules.find(data.name);
    return Promise.resolve(schedule === null || schedule.pausedAt === null ? null : shapeOf(ctx, schedule));
  },

  reply: (result) => [text('Paused the schedule ', { strong: result.name }, '.')],
});

export const scheduleResume = defineWrite({
  name: 'schedule resume',
  summary: 'Let a paused schedule run again. What was due meanwhile is not made up for.',
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({ name: scheduleName }),
  result: scheduleShape,
  examples: ['schedule resume health'],

  plan(ctx, args) {
    const attempted = `resume the schedule ${args.name}`;
    const schedule = ctx.schedules.get(args.name, attempted);
    if (schedule.pausedAt === null) throw new Failure('schedule.not-paused', { attempted });
    assertMayRunAsMaker(ctx, schedule, attempted);
    return Promise.resolve({
      targets: [{ id: schedule.name }],
      changes: [['run again: ', { command: schedule.line }, ` (${schedule.due}, ${schedule.timeZone})`]],
      undo: `schedule pause ${schedule.name}`,
      data: { id: schedule.id, name: schedule.name },
    });
  },

  run: (ctx, data: { id: string; name: string }) => {
    ctx.schedules.resume(data);
    return Promise.resolve({});
  },

  readBack: (ctx, data) => {
    const schedule = ctx.schedules.find(data.name);
    return Promise.resolve(schedule === null || schedule.pausedAt !== null ? null : shapeOf(ctx, schedule));
  },

  reply: (result) => [text('Resumed the schedule ', { strong: result.name }, `; it runs next at `, nextLine(result), '.')],
});
