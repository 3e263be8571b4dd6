import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text } from '../../reply/parts.ts';
import type { Freeze } from '../../workflow/freeze.ts';
import { defineWrite } from '../define.ts';
import type { Gate } from '../gate.ts';

/** While Steward is frozen no change begins, but the one that ends it. */
export const freezeGate =
  (freeze: Freeze): Gate =>
  ({ command }) => {
    if (command.kind !== 'write' || command.always === true) return;
    const { state } = freeze;
    if (state === null) return;
    throw new Failure('access.frozen', {
      attempted: `run \`${command.name}\``,
      reason: `${state.by} froze Steward at ${new Date(state.at).toISOString().slice(0, 16)}Z: ${state.reason}`,
    });
  };

export const serverFreeze = defineWrite({
  name: 'server freeze',
  summary: 'Let no change begin until `server thaw`. Reads and refusals go on.',
  details: ['A change that is running ends what it began. One that waits for a decision is refused when it would run.'],
  tier: 'confirmed',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    reason: z
      .string()
      .min(1, 'not empty')
      .max(200, 'at most 200 characters')
      .describe('Shown to who is refused.')
      .meta({ positional: 0, value: 'REASON' }),
  }),
  result: z.object({ reason: z.string(), by: z.string(), at: z.string() }),
  examples: ['server freeze "database maintenance"'],

  plan: (_ctx, { reason }) =>
    Promise.resolve({ targets: [], changes: [['let no change begin until thaw']], undo: 'server thaw', data: { reason } }),
  run: (ctx, { reason }) => {
    ctx.freeze.begin(reason, ctx.requester.kind === 'person' ? ctx.requester.person : 'shell');
    return Promise.resolve({});
  },
  readBack: (ctx) => {
    const { state } = ctx.freeze;
    return Promise.resolve(state === null ? null : { ...state, at: new Date(state.at).toISOString() });
  },

  reply: () => [text({ strong: 'Frozen.' }, ' No change begins until ', { command: 'server thaw' }, '.')],
});

export const serverThaw = defineWrite({
  name: 'server thaw',
  summary: 'Let changes begin again.',
  tier: 'confirmed',
  lock: 'none',
  always: true,
  bulk: false,
  args: z.strictObject({}),
  result: z.object({ frozen: z.boolean() }),
  examples: ['server thaw'],

  plan: (ctx) => {
    const { state } = ctx.freeze;
    if (state === null) throw new Failure('access.not-frozen', { attempted: 'thaw' });
    return Promise.resolve({
      targets: [],
      changes: [[`let changes begin again, which ${state.by} had stopped: ${state.reason}`]],
      data: {},
    });
  },
  run: (ctx) => {
    ctx.freeze.end();
    return Promise.resolve({});
  },
  readBack: (ctx) => Promise.resolve(ctx.freeze.state === null ? { frozen: false } : null),

  reply: () => [text({ strong: 'Thawed.' }, ' Changes begin again.')],
});
