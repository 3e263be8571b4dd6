import { z } from 'zod';
import { Failure } from '../../../failures/failure.ts';
import { removeMember, setRoomState } from '../../../homeserver/admin-room.ts';
import { text, type Line } from '../../../reply/parts.ts';
import { weaknessNames, type Mend, type Weakness } from '../../../room/inspection.ts';
import { defineWrite } from '../../define.ts';
import { lookAtRoom } from './shared.ts';

const attempted = 'mend the admin room';

export const serverRoomMend = defineWrite({
  name: 'server room mend',
  summary: 'Make the admin room as it should be, as far as that can be done in this room.',
  details: [
    'Each change is shown before. Who is in no `people:` and not let in by `room.expect.members` is put out. What only a new room can mend is named by `server room check` and done by `server room move`.',
  ],
  tier: 'confirmed',
  lock: 'none',
  owner: true,
  bulk: false,
  args: z.strictObject({}),
  result: z.object({ roomId: z.string(), mended: z.array(z.enum(weaknessNames)) }),
  examples: ['server room mend'],

  async plan(ctx) {
    const { roomId, inspection } = await lookAtRoom(ctx, attempted);
    const mendable = inspection.weaknesses.filter(({ mends }) => mends.length > 0);
    if (mendable.length === 0)
      throw new Failure('room.nothing-to-mend', {
        attempted,
        ...(inspection.weaknesses.length === 0
          ? {}
          : {
              reason: `what is wrong only a new room can mend: ${inspection.weaknesses.map(({ detail }) => detail).join('; ')}`,
              hint: '`!server room move` makes a new room.',
            }),
      });
    return {
      targets: [{ id: roomId }],
      changes: mendable.map((weakness): Line => [`${weakness.detail}: `, ...weakness.mends.flatMap(wordsOf)]),
      data: { roomId, weaknesses: mendable },
    };
  },

  async run(ctx, data) {
    for (const mend of mendsOf(data.weaknesses)) {
      if (mend.kind === 'state') await setRoomState(ctx.homeserver.client, data.roomId, mend.type, mend.content);
      else await removeMember(ctx.homeserver.client, data.roomId, mend.userId, 'is in no people: of Steward');
    }
    return {};
  },

  async readBack(ctx, data) {
    const { inspection } = await lookAtRoom(ctx, attempted);
    const left = new Set(inspection.weaknesses.map(({ name }) => name));
    const names = data.weaknesses.map(({ name }) => name);
    if (names.some((name) => left.has(name))) return null;
    return { roomId: data.roomId, mended: names };
  },

  reply: (result) => [text('Mended ', { id: result.roomId }, `: ${result.mended.join(', ')}.`)],
});

/** Power last: what it takes away may be needed for the others. */
function mendsOf(weaknesses: readonly Weakness[]): Mend[] {
  const mends = weaknesses.flatMap((weakness) => weakness.mends);
  const isPower = (mend: Mend): boolean => mend.kind === 'state' && mend.type === 'm.room.power_levels';
  return [...mends.filter((mend) => !isPower(mend)), ...mends.filter(isPower)];
}

function wordsOf(mend: Mend, at: number): Line {
  const before = at === 0 ? '' : ', ';
  if (mend.kind === 'remove') return [`${before}put out `, { id: mend.userId }];
  if (mend.type === 'm.room.power_levels') return [`${before}leave settings to Steward, with everybody else at 50 or less`];
  return [`${before}set `, { code: `${mend.type} ${JSON.stringify(mend.content)}` }];
}
