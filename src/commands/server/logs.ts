import { z } from 'zod';
import { code, text } from '../../reply/parts.ts';
import { countArgument } from '../arguments.ts';
import { defineRead } from '../define.ts';

export const serverLogs = defineRead({
  name: 'server logs',
  summary: "Show the end of a component's log.",
  tier: 'read',
  lock: 'none',
  args: z.strictObject({
    component: z.string().min(1, 'not empty').default('synapse').describe('Which component.').meta({ positional: 0, value: 'COMPONENT' }),
    lines: countArgument(1, 1000).prefault('50').describe('How many lines.').meta({ alias: 'n', value: 'N' }),
  }),
  result: z.object({ component: z.string(), log: z.string() }),
  examples: ['server logs', 'server logs synapse --lines 200'],

  async read(ctx, args) {
    return { component: args.component, log: await ctx.stack.logs(args.component, args.lines) };
  },

  reply: (result) => [result.log === '' ? text('The log of ', { strong: result.component }, ' is empty.') : code(result.log)],
});
