import type { Synapse } from '../homeserver/synapse/synapse.ts';
import { fail, ok, skipped, type Finding } from './line.ts';

/** Whether Steward is in the admin room. */
export async function lookAtRoom(homeserver: Synapse, roomId: string | undefined, userId: string): Promise<Finding> {
  if (roomId === undefined) return skipped('none is configured');
  const joined = await homeserver.joinedRooms(userId);
  return joined.includes(roomId) ? ok(`${userId} is in ${roomId}`) : fail(`${userId} is not in ${roomId}`, `Invite ${userId} to the room.`);
}

/** Whether the admin room is encrypted, where nothing else knows more. */
export async function lookAtEncryption(homeserver: Synapse, roomId: string | undefined): Promise<Finding> {
  const room = roomId === undefined ? null : await homeserver.room(roomId);
  if (room === null) return skipped('the room is not known');
  return ok(room.encryption === null ? 'the room is not encrypted' : `the room is encrypted (${room.encryption})`);
}
