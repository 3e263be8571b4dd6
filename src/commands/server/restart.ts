import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';

/** Milliseconds that a component is given to come up: Synapse may run a migration first. */
const upBound = 120_000;
const lookEvery = 500;

export const serverRestart = defineWrite({
  name: 'server restart',
  summary: 'Restart a component of the homeserver, and wait until it runs again.',
  details: ['A component is what `stack.components` in the configuration names. Clients reconnect by themselves.'],
  tier: 'confirmed',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    component: z.string().min(1, 'not empty').default('synapse').describe('Which component.').meta({ positional: 0, value: 'COMPONENT' }),
  }),
  result: z.object({ component: z.string(), running: z.literal(true) }),
  examples: ['server restart --yes'],

  async plan(ctx, args) {
    const before = (await ctx.stack.components()).find(({ name }) => name === args.component);
    if (before === undefined) throw new Failure('stack.no-component', { attempted: `restart ${args.component}` });
    return {
      targets: [{ id: `component ${before.name}` }],
      changes: [['restart ', { strong: before.name }, before.running ? '' : ', which does not run']],
      data: { component: before.name, invocation: before.invocation },
    };
  },

  async run(ctx, data) {
    await ctx.stack.restart(data.component, ctx.signal);
    return {};
  },

  async readBack(ctx, data) {
    const end = ctx.clock.monotonic() + upBound;
    for (;;) {
      const now = (await ctx.stack.components()).find(({ name }) => name === data.component);
      const isNew = now?.invocation === null || now?.invocation !== data.invocation;
      if (now?.running === true && isNew) return { component: data.component, running: true as const };
      // The command has ended, and what runs is what ran before: it was not restarted.
      if (now?.running === true) return null;
      if (ctx.clock.monotonic() > end)
        throw new Failure('stack.not-running', {
          attempted: `restart ${data.component}`,
          reason: `it does not run after ${upBound / 1000} s`,
        });
      await ctx.clock.sleep(lookEvery, ctx.signal);
    }
  },

  reply: (result) => [text('Restarted ', { strong: result.component }, '. It runs.')],
});
