import { z } from 'zod';
import { Failure } from '../failures/failure.ts';
import type { SynapseRequest } from './synapse/http.ts';

/** The Client-Server API as the bot: the JSON of the answer, or null for `M_NOT_FOUND`. Throws Failures of the family `homeserver`. */
export type ClientApi = (request: SynapseRequest) => Promise<unknown>;

/** Marks the room in its first event, so that a broken run finds it again. */
export const marker = 'org.steward.admin_room';

const stateEvents = z.array(
  z.object({ type: z.string(), state_key: z.string(), sender: z.string(), content: z.record(z.string(), z.unknown()) }),
);
export type StateEvent = z.output<typeof stateEvents>[number];
const capabilities = z.object({ capabilities: z.object({ 'm.room_versions': z.object({ default: z.string() }).optional() }) });

/** GET …/rooms/{room}/state: all of it, members too. */
export async function roomState(api: ClientApi, roomId: string): Promise<StateEvent[]> {
  const request: SynapseRequest = { method: 'GET', path: '/_matrix/client/v3/rooms/{room}/state', params: { room: roomId } };
  const parsed = stateEvents.safeParse(await api(request));
  if (!parsed.success) throw new Failure('homeserver.bad-answer', { attempted: `${request.method} ${request.path}` });
  return parsed.data;
}

/** GET …/joined_rooms */
export async function joinedRooms(api: ClientApi): Promise<string[]> {
  const answer = z
    .object({ joined_rooms: z.array(z.string()) })
    .safeParse(await api({ method: 'GET', path: '/_matrix/client/v3/joined_rooms' }));
  if (!answer.success) throw new Failure('homeserver.bad-answer', { attempted: 'GET /_matrix/client/v3/joined_rooms' });
  return answer.data.joined_rooms;
}

export async function setRoomState(api: ClientApi, roomId: string, type: string, content: Record<string, unknown>): Promise<void> {
  await api({
    method: 'PUT',
    path: '/_matrix/client/v3/rooms/{room}/state/{type}',
    params: { room: roomId, type },
    body: content,
  });
}

/** POST …/rooms/{room}/kick: also takes an invitation back. */
export async function removeMember(api: ClientApi, roomId: string, userId: string, reason: string): Promise<void> {
  await api({
    method: 'POST',
    path: '/_matrix/client/v3/rooms/{room}/kick',
    params: { room: roomId },
    body: { user_id: userId, reason },
  });
}

export async function joinRoom(api: ClientApi, roomId: string): Promise<void> {
  await api({ method: 'POST', path: '/_matrix/client/v3/join/{room}', params: { room: roomId }, body: {} });
}

export interface NewRoom {
  botId: string;
  /** Every account that gets a seat. */
  members: readonly string[];
  encrypted: boolean;
  /** The room that it takes the place of. */
  predecessor?: string;
}

/** Makes an admin room with nobody in it but the bot. @returns its id */
export async function makeAdminRoom(api: ClientApi, room: NewRoom): Promise<string> {
  const answer = z
    .object({ room_id: z.string() })
    .safeParse(await api({ method: 'POST', path: '/_matrix/client/v3/createRoom', body: await describeRoom(api, room) }));
  if (!answer.success) throw new Failure('homeserver.bad-answer', { attempted: 'POST /_matrix/client/v3/createRoom' });
  return answer.data.room_id;
}

/** Invites who is neither in the room nor invited nor banned; returns those who were invited now. */
export async function inviteMembers(api: ClientApi, roomId: string, members: readonly string[]): Promise<string[]> {
  const membership = async (userId: string): Promise<unknown> => {
    const content = await api({
      method: 'GET',
      path: '/_matrix/client/v3/rooms/{room}/state/m.room.member/{user}',
      params: { room: roomId, user: userId },
    });
    return (content as { membership?: unknown } | null)?.membership;
  };
  const invited: string[] = [];
  for (const userId of members) {
    if (['invite', 'join', 'ban'].includes(String(await membership(userId)))) continue;
    await api({
      method: 'POST',
      path: '/_matrix/client/v3/rooms/{room}/invite',
      params: { room: roomId },
      body: { user_id: userId },
    });
    if (!['invite', 'join'].includes(String(await membership(userId))))
      throw new Failure('homeserver.not-done', { attempted: `invite ${userId} to ${roomId}` });
    invited.push(userId);
  }
  return invited;
}

async function describeRoom(api: ClientApi, { botId, members, encrypted, predecessor }: NewRoom): Promise<Record<string, unknown>> {
  const offered = capabilities.safeParse(await api({ method: 'GET', path: '/_matrix/client/v3/capabilities' })).data;
  // From version 12 on the creator stands above all levels and must not be listed.
  const isListed = Number.parseInt(offered?.capabilities['m.room_versions']?.default ?? '1', 10) < 12;
  const seats = Object.fromEntries(members.map((userId) => [userId, 50]));
  return {
    preset: 'private_chat',
    visibility: 'private',
    name: 'Steward',
    topic: 'Administration of this homeserver. Type !help',
    creation_content: {
      'm.federate': false,
      [marker]: true,
      ...(predecessor === undefined ? {} : { predecessor: { room_id: predecessor } }),
    },
    initial_state: [
      { type: 'm.room.join_rules', content: { join_rule: 'invite' } },
      { type: 'm.room.history_visibility', content: { history_visibility: 'joined' } },
      { type: 'm.room.guest_access', content: { guest_access: 'forbidden' } },
      ...(encrypted ? [{ type: 'm.room.encryption', content: { algorithm: 'm.megolm.v1.aes-sha2' } }] : []),
    ],
    power_level_content_override: {
      users: isListed ? { ...seats, [botId]: 100 } : seats,
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
