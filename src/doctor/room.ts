import type { RoomGuard } from '../room/guard.ts';
import type { LockDown } from '../room/lock-down.ts';
import type { Synapse } from '../homeserver/synapse/synapse.ts';
import { fail, ok, skipped, warn, type Finding } from './line.ts';

export interface RoomToLookAt {
  roomId: string | null;
  /** The one that the configuration names. */
  configured: string | undefined;
  userId: string;
  guard: RoomGuard;
  lockDown: LockDown;
}

/** Whether Steward is in the admin room, and whether that is as it should be. */
export async function lookAtRoom(homeserver: Synapse, { roomId, configured, userId, guard, lockDown }: RoomToLookAt): Promise<Finding> {
  if (roomId === null) return skipped('none is configured');
  const joined = await homeserver.joinedRooms(userId);
  if (!joined.includes(roomId)) return fail(`${userId} is not in ${roomId}`, `Invite ${userId} to the room.`);
  const [locked] = lockDown.reasons;
  if (locked !== undefined) return fail(`locked, reads only: ${locked.detail}`, '`!server room check`, then `!server room ack`.');
  const weaknesses = (await guard.look())?.inspection.weaknesses ?? [];
  if (weaknesses.length > 0) return warn(weaknesses.map(({ detail }) => detail).join('; '), '`!server room check` shows what mends each.');
  return roomId === configured
    ? ok(roomId)
    : warn(`${roomId}, moved from ${configured ?? ''}`, `Set \`room.id\` in the configuration to ${roomId}.`);
}
