import { z } from 'zod';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { readAnswer, type Bootstrap, type Identity } from '../homeserver/bootstrap.ts';

export interface AdminRoomOptions {
  bootstrap: Bootstrap;
  bot: Identity;
  token: Secret;
  /** Every account that gets a seat. */
  members: readonly string[];
  /** Whether a new room is encrypted; one that exists is taken as it is. */
  encrypted: boolean;
}

/** Marks the room in its first event, so that a broken run finds it again. */
const marker = 'org.steward.admin_room';

type State = ReadonlyMap<string, Record<string, unknown>>;
const powerLevels = z.object({
  users: z.record(z.string(), z.number()).default({}),
  users_default: z.number().default(0),
  redact: z.number().default(50),
});
const capabilities = z.object({ capabilities: z.object({ 'm.room_versions': z.object({ default: z.string() }).optional() }) });
const events = z.array(
  z.object({ type: z.string(), state_key: z.string(), sender: z.string(), content: z.record(z.string(), z.unknown()) }),
);

/** The room that an earlier run made and no configuration names yet, or null. */
export async function findAdminRoom({ bootstrap, bot, token }: AdminRoomOptions): Promise<string | null> {
  const joined = readAnswer(
    z.object({ joined_rooms: z.array(z.string()) }),
    await bootstrap.client({ method: 'GET', path: '/_matrix/client/v3/joined_rooms', token }),
  );
  for (const roomId of joined.joined_rooms) {
    const state = await stateOf(bootstrap, token, roomId);
    const create = state.get('m.room.create');
    if (create?.[marker] === true && create['sender'] === bot.userId && !state.has('m.room.tombstone')) return roomId;
  }
  return null;
}

/** Makes the admin room with nobody in it but the bot, and reads it back. */
export async function createAdminRoom(options: AdminRoomOptions): Promise<string> {
  const { bootstrap, token } = options;
  const body = await describeRoom(options);
  const { room_id: roomId } = readAnswer(
    z.object({ room_id: z.string() }),
    await bootstrap.client({ method: 'POST', path: '/_matrix/client/v3/createRoom', body, token }),
  );
  const remarks = await inspectRoom(options, roomId);
  const isEncrypted = (await stateOf(bootstrap, token, roomId)).has('m.room.encryption');
  if (options.encrypted && !isEncrypted) remarks.push('it is not encrypted');
  if (remarks.length > 0)
    throw new Failure('homeserver.not-done', { attempted: `make the admin room ${roomId}`, reason: remarks.join('; ') });
  return roomId;
}

/** Joins a room that exists. */
export async function joinRoom({ bootstrap, bot, token }: AdminRoomOptions, roomId: string): Promise<void> {
  try {
    await bootstrap.client({ method: 'POST', path: '/_matrix/client/v3/join/{room}', params: { room: roomId }, body: {}, token });
  } catch (error) {
    if (!(error instanceof Failure) || error.id !== 'homeserver.refused') throw error;
    throw new Failure('homeserver.refused', {
      attempted: `join ${roomId}`,
      reason: error.reason,
      hint: `Invite ${bot.userId} to the room, then run \`steward init\` again.`,
    });
  }
}

/** What is not as an admin room should be, in words. */
export async function inspectRoom({ bootstrap, bot, token }: AdminRoomOptions, roomId: string): Promise<string[]> {
  const state = await stateOf(bootstrap, token, roomId);
  const levels = readAnswer(powerLevels, state.get('m.room.power_levels') ?? {});
  const isCreator = state.get('m.room.create')?.['sender'] === bot.userId;
  const checks: [boolean, string][] = [
    [state.get('m.room.join_rules')?.['join_rule'] === 'invite', 'it can be joined without an invitation'],
    [state.get('m.room.create')?.['m.federate'] === false, 'other homeservers can take part'],
    [state.get('m.room.history_visibility')?.['history_visibility'] === 'joined', 'newcomers can read what was said before they joined'],
    [(state.get('m.room.guest_access')?.['guest_access'] ?? 'forbidden') === 'forbidden', 'guests may join'],
    [isCreator || (levels.users[bot.userId] ?? levels.users_default) >= levels.redact, `${bot.userId} may not remove messages there`],
  ];
  return checks.filter(([isRight]) => !isRight).map(([, remark]) => remark);
}

/** Invites who is neither in the room nor invited nor banned; returns those who were invited now. */
export async function inviteMembers({ bootstrap, token, members }: AdminRoomOptions, roomId: string): Promise<string[]> {
  const membership = async (userId: string): Promise<unknown> => {
    const content = await bootstrap.client({
      method: 'GET',
      path: '/_matrix/client/v3/rooms/{room}/state/m.room.member/{user}',
      params: { room: roomId, user: userId },
      token,
    });
    return (content as { membership?: unknown } | null)?.membership;
  };
  const invited: string[] = [];
  for (const userId of members) {
    if (['invite', 'join', 'ban'].includes(String(await membership(userId)))) continue;
    await bootstrap.client({
      method: 'POST',
      path: '/_matrix/client/v3/rooms/{room}/invite',
      params: { room: roomId },
      body: { user_id: userId },
      token,
    });
    if (!['invite', 'join'].includes(String(await membership(userId))))
      throw new Failure('homeserver.not-done', { attempted: `invite ${userId} to ${roomId}` });
    invited.push(userId);
  }
  return invited;
}

async function describeRoom({ bootstrap, bot, token, members, encrypted }: AdminRoomOptions): Promise<Record<string, unknown>> {
  const offered = readAnswer(capabilities, await bootstrap.client({ method: 'GET', path: '/_matrix/client/v3/capabilities', token }));
  // From version 12 on the creator stands above all levels and must not be listed.
  const isListed = Number.parseInt(offered.capabilities['m.room_versions']?.default ?? '1', 10) < 12;
  const seats = Object.fromEntries(members.map((userId) => [userId, 50]));
  return {
    preset: 'private_chat',
    visibility: 'private',
    name: 'Steward',
    topic: 'Administration of this homeserver. Type !help',
    creation_content: { 'm.federate': false, [marker]: true },
    initial_state: [
      { type: 'm.room.join_rules', content: { join_rule: 'invite' } },
      { type: 'm.room.history_visibility', content: { history_visibility: 'joined' } },
      { type: 'm.room.guest_access', content: { guest_access: 'forbidden' } },
      ...(encrypted ? [{ type: 'm.room.encryption', content: { algorithm: 'm.megolm.v1.aes-sha2' } }] : []),
    ],
    power_level_content_override: {
      users: isListed ? { ...seats, [bot.userId]: 100 } : seats,
      users_default: 0,
      events_default: 0,
      // Members may dress the room up and keep it tidy; who may speak and read stays with the bot.
      state_default: 100,
      events: {
        'm.room.name': 50,
        'm.room.topic': 50,
        'm.room.avatar': 50,
        'm.room.pinned_events': 50,
        'org.matrix.msc4391.command_description': 100,
      },
      invite: 50,
      kick: 50,
      ban: 50,
      redact: 50,
      notifications: { room: 50 },
    },
  };
}

async function stateOf(bootstrap: Bootstrap, token: Secret, roomId: string): Promise<State> {
  const answer = readAnswer(
    events,
    await bootstrap.client({ method: 'GET', path: '/_matrix/client/v3/rooms/{room}/state', params: { room: roomId }, token }),
  );
  return new Map(answer.filter(({ state_key: key }) => key === '').map(({ type, sender, content }) => [type, { ...content, sender }]));
}
