import { z } from 'zod';
import { weaknessNames } from '../../../room/inspection.ts';
import { list, text, type Line } from '../../../reply/parts.ts';
import { defineRead } from '../../define.ts';
import { lookAtRoom } from './shared.ts';

export const serverRoomCheck = defineRead({
  name: 'server room check',
  summary: 'Look whether the admin room is as it should be: who can join, read, speak and change it.',
  details: [
    'It should take nobody in without an invitation, show newcomers nothing older, be closed to guests and to other homeservers, hold the people of the configuration and nobody else, and leave its settings to Steward. Section `room.expect` of the configuration says otherwise where you want it otherwise.',
  ],
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({
    roomId: z.string(),
    sound: z.boolean(),
    locked: z.array(z.string()),
    weaknesses: z.array(z.object({ name: z.enum(weaknessNames), detail: z.string(), mended: z.enum(['mend', 'move']) })),
  }),
  examples: ['server room check'],

  async read(ctx) {
    const { roomId, inspection } = await lookAtRoom(ctx, 'look at the admin room');
    return {
      roomId,
      sound: inspection.weaknesses.length === 0,
      locked: ctx.lockDown.reasons.map(({ detail }) => detail),
      weaknesses: inspection.weaknesses.map(({ name, detail, mends }) => ({
        name,
        detail,
        mended: mends.length > 0 ? ('mend' as const) : ('move' as const),
      })),
    };
  },

  reply: ({ roomId, sound, locked, weaknesses }) => [
    ...(locked.length === 0
      ? []
      : [
          text('🔒 ', { strong: 'Locked, reads only:' }),
          list(locked.map((reason): Line => [reason])),
          text('An owner ends it: ', { command: 'server room ack' }),
        ]),
    text(sound ? '🟢 ' : '🟠 ', { id: roomId }, sound ? ' is as it should be.' : ' is weaker than it should be:'),
    ...(sound
      ? []
      : [
          list(
            weaknesses.map(({ name, detail, mended }): Line => [{ strong: name }, `: ${detail} → `, { command: `server room ${mended}` }]),
          ),
        ]),
  ],
});
