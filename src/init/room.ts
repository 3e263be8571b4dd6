import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import * as rooms from '../homeserver/admin-room.ts';
import type { Bootstrap, Identity } from '../homeserver/bootstrap.ts';
import { inspect } from '../room/inspection.ts';

export interface AdminRoomOptions {
  bootstrap: Bootstrap;
  bot: Identity;
  token: Secret;
  /** Every account that gets a seat. */
  members: readonly string[];
  /** Whether a new room is encrypted; one that exists is taken as it is. */
  encrypted: boolean;
}

/** The room that an earlier run made and no configuration names yet, or null. */
export async function findAdminRoom(options: AdminRoomOptions): Promise<string | null> {
  const api = apiOf(options);
  for (const roomId of await rooms.joinedRooms(api)) {
    const state = await rooms.roomState(api, roomId);
    const create = state.find(({ type }) => type === 'm.room.create');
    const isClosed = state.some(({ type }) => type === 'm.room.tombstone');
    if (create?.content[rooms.marker] === true && create.sender === options.bot.userId && !isClosed) return roomId;
  }
  return null;
}

/** Makes the admin room with nobody in it but the bot, and reads it back. */
export async function createAdminRoom(options: AdminRoomOptions): Promise<string> {
  const { bot, encrypted, members } = options;
  const roomId = await rooms.makeAdminRoom(apiOf(options), { botId: bot.userId, members, encrypted });
  const remarks = await inspectRoom(options, roomId, encrypted);
  if (remarks.length > 0)
    throw new Failure('homeserver.not-done', { attempted: `make the admin room ${roomId}`, reason: remarks.join('; ') });
  return roomId;
}

/** Joins a room that exists. */
export async function joinRoom(options: AdminRoomOptions, roomId: string): Promise<void> {
  try {
    await rooms.joinRoom(apiOf(options), roomId);
  } catch (error) {
    if (!(error instanceof Failure) || error.id !== 'homeserver.refused') throw error;
    throw new Failure('homeserver.refused', {
      attempted: `join ${roomId}`,
      reason: error.reason,
      hint: `Invite ${options.bot.userId} to the room, then run \`steward init\` again.`,
    });
  }
}

/** What is not as an admin room should be, in words. @param encrypted whether it must be encrypted */
export async function inspectRoom(options: AdminRoomOptions, roomId: string, encrypted = false): Promise<string[]> {
  const { bot, members } = options;
  const { weaknesses } = inspect(await rooms.roomState(apiOf(options), roomId), {
    botId: bot.userId,
    accounts: new Set(members),
    // Who will be an owner is not settled yet.
    owners: new Set(members),
    others: [],
    encrypted,
    federated: false,
    history: 'joined',
  });
  return weaknesses.map(({ detail }) => detail);
}

/** Invites who is neither in the room nor invited nor banned; returns those who were invited now. */
export async function inviteMembers(options: AdminRoomOptions, roomId: string): Promise<string[]> {
  return rooms.inviteMembers(apiOf(options), roomId, options.members);
}

function apiOf({ bootstrap, token }: AdminRoomOptions): rooms.ClientApi {
  return (request) => bootstrap.client({ ...request, token });
}
