import { z } from 'zod';
import { Failure } from '../../../failures/failure.ts';
import {
  inviteMembers,
  joinedRooms,
  joinRoom,
  makeAdminRoom,
  marker,
  roomState,
  setRoomState,
  type StateEvent,
} from '../../../homeserver/admin-room.ts';
import { fields, text } from '../../../reply/parts.ts';
import { inspect, weaknessNames } from '../../../room/inspection.ts';
import type { CommandContext } from '../../context.ts';
import { defineWrite } from '../../define.ts';
import { nameOf, lookAtRoom } from './shared.ts';

const attempted = 'move to another room';

export const serverRoomMove = defineWrite({
  name: 'server room move',
  summary: 'Make a new admin room, invite everybody, close the old one, and work in the new one.',
  details: [
    'For what cannot be mended in the old room, and after somebody has replaced it. `--to ROOM` takes a room that exists, into which Steward has been invited, instead of making one.',
    'Steward keeps the new room in its store and works there from then on, also after a restart; set `room.id` in the configuration to it when you next edit it. In the shell it works when nobody can type in the old room.',
  ],
  tier: 'confirmed',
  lock: 'none',
  owner: true,
  bulk: false,
  args: z.strictObject({
    to: z
      .string()
      .regex(/^!\S+$/, 'a room id such as !abc:example.org')
      .optional()
      .describe('A room that exists.')
      .meta({ value: 'ROOM' }),
  }),
  result: z.object({
    from: z.string(),
    to: z.string(),
    invited: z.array(z.string()),
    closed: z.boolean(),
    weaknesses: z.array(z.enum(weaknessNames)),
  }),
  examples: ['server room move'],

  async plan(ctx, args) {
    const { roomId: from, state, inspection } = await lookAtRoom(ctx, attempted);
    if (args.to === from) throw new Failure('usage.invalid-value', { attempted, reason: `${from} is the admin room already` });
    const members = [...ctx.expectedRoom().accounts];
    const encrypted = ctx.expectedRoom().encrypted || state.some(({ type }) => type === 'm.room.encryption');
    return {
      targets: [{ id: from }],
      changes: [
        args.to === undefined ? [`make a new${encrypted ? ' encrypted' : ''} admin room`] : ['join ', { id: args.to }],
        [`invite ${members.join(', ')}`],
        ...(inspection.replacement === null ? [['close ', { id: from }, ' and point to the new one']] : []),
        ['work in the new room'],
      ],
      data: { from, to: args.to ?? null, members, encrypted },
    };
  },

  async run(ctx, { from, to: given, members, encrypted }) {
    const api = ctx.homeserver.client;
    if (given !== null) await joinRoom(api, given);
    const { botId } = ctx.expectedRoom();
    const to = given ?? (await successorOf(ctx, from)) ?? (await makeAdminRoom(api, { botId, members, encrypted, predecessor: from }));
    await inviteMembers(api, to, members);
    // Before the old one is closed: the guard takes no fright at what Steward does itself.
    ctx.moveRoom(to, nameOf(ctx));
    try {
      await setRoomState(api, from, 'm.room.tombstone', { body: 'The admin room has moved.', replacement_room: to });
    } catch (error) {
      // It may have lost the power to; the new room works without that.
      ctx.log.warn('the old room could not be closed', { room_id: from, error });
    }
    return { to };
  },

  async readBack(ctx, { from, members }) {
    const found = await ctx.guard.look();
    if (found === null || found.roomId === from) return null;
    const memberships = new Map(
      found.state.filter(({ type }) => type === 'm.room.member').map(({ state_key: userId, content }) => [userId, content['membership']]),
    );
    const invited = members.filter((userId) => ['invite', 'join'].includes(String(memberships.get(userId))));
    if (invited.length < members.filter((userId) => memberships.get(userId) !== 'ban').length) return null;
    const closed = inspect(await roomState(ctx.homeserver.client, from), ctx.expectedRoom()).replacement === found.roomId;
    return { from, to: found.roomId, invited, closed, weaknesses: found.inspection.weaknesses.map(({ name }) => name) };
  },

  reply: ({ from, to, invited, closed, weaknesses }) => [
    text('Moved to ', { id: to }, '. Accept the invitation in your client; I answer there.'),
    fields(
      ['invited', [invited.join(', ')]],
      ['old room', [{ id: from }, closed ? ', closed' : ', which I could not close']],
      ['weaker than it should be', weaknesses.length === 0 ? undefined : [weaknesses.join(', ')]],
      ['configuration', ['set ', { code: `room.id: '${to}'` }, ' when you next edit it']],
    ),
  ],
});

/** The room that a move which broke off has made, or null. */
async function successorOf(ctx: CommandContext, from: string): Promise<string | null> {
  const { botId } = ctx.expectedRoom();
  const isSuccessor = ({ type, sender, content }: StateEvent): boolean =>
    type === 'm.room.create' &&
    sender === botId &&
    content[marker] === true &&
    (content['predecessor'] as { room_id?: unknown } | undefined)?.room_id === from;
  for (const roomId of await joinedRooms(ctx.homeserver.client)) {
    const state = await roomState(ctx.homeserver.client, roomId);
    if (state.some(isSuccessor) && !state.some(({ type }) => type === 'm.room.tombstone')) return roomId;
  }
  return null;
}
