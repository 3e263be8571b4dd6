import { z } from 'zod';
import { Failure } from '../../../failures/failure.ts';
import { text, type Line } from '../../../reply/parts.ts';
import { defineWrite } from '../../define.ts';
import { nameOf } from './shared.ts';

const attempted = 'end the lock-down';

export const serverRoomAck = defineWrite({
  name: 'server room ack',
  summary: 'Acknowledge what locked Steward down, so that it changes things again.',
  details: [
    'A lock-down begins when somebody who is in no `people:` joins the admin room or is invited by a non-owner, when the room is replaced, and when Steward loses its power in it. Reads go on. Look first: `server room check` shows who can read along, `server room mend` puts them out. Who is in the room when it is acknowledged does not lock it again.',
  ],
  tier: 'confirmed',
  lock: 'none',
  owner: true,
  bulk: false,
  args: z.strictObject({}),
  result: z.object({ reasons: z.array(z.string()) }),
  examples: ['server room ack'],

  plan(ctx) {
    const { reasons } = ctx.lockDown;
    if (reasons.length === 0) throw new Failure('room.not-locked', { attempted });
    if (reasons.some(({ kind }) => kind === 'replaced'))
      throw new Failure('room.replaced', { attempted, reason: 'the room was replaced, and commands typed in a new one are not heard' });
    return Promise.resolve({
      targets: reasons.map(({ subject }) => ({ id: subject })),
      changes: reasons.map(({ detail }): Line => [`acknowledge: ${detail}`]),
      data: { reasons: reasons.map(({ detail }) => detail) },
    });
  },

  async run(ctx) {
    await ctx.guard.acknowledge(nameOf(ctx));
    return {};
  },

  readBack: (ctx, data) => Promise.resolve(ctx.lockDown.reasons.length > 0 ? null : { reasons: data.reasons }),
  reply: () => [text('The lock-down is over. ', { command: 'server room check' }, ' shows how the room is.')],
});
