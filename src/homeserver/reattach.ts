import type { Ids } from '../clock.ts';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { inviteMembers, joinedRooms, joinRoom, makeAdminRoom, marker, roomState, type ClientApi } from './admin-room.ts';
import type { Bootstrap, PendingPassword } from './bootstrap.ts';

export interface ReattachOptions {
  bootstrap: Bootstrap;
  ids: Ids;
  userId: string;
  token: Secret;
  /** The token before this one, which the data of before know; null where there is none. */
  previous: () => Promise<Secret | null>;
  /** The device that a new token is of. */
  deviceId: string;
  /** What makes accounts; null where the homeserver has none. */
  registrationSecret: () => Promise<Secret | null>;
  /** Makes account and device again where Matrix Authentication Service has them, under the token of now; null where the homeserver has them. */
  provisionAgain: (() => Promise<void>) | null;
  /** Keeps a new token, after which it is the one in force. */
  keepToken: (token: Secret) => Promise<void>;
  /** Rooms that it may sit in, the first that is there: the admin room of now, and that of the configuration. Empty where it has none. */
  rooms: readonly string[];
  /** Every account that gets a seat. */
  members: readonly string[];
  encrypted: boolean;
  /** Steward works in this room from now on. */
  moveRoom: (to: string) => void;
}

/**
 * After the homeserver's data have become other ones: Steward's account, token and room are what they must be, each made
 * anew where it is gone. May be called again.
 *
 * @returns what was done, in words
 * @throws Failure `restore.not-attached`, and those of the family `homeserver`
 */
export async function reattach(options: ReattachOptions): Promise<string[]> {
  const { bootstrap, keepToken, token, userId } = options;
  const done: string[] = [];
  let now = token;
  const who = await bootstrap.identify(token);
  if (who?.userId !== userId && options.provisionAgain !== null) {
    await options.provisionAgain();
    await bootstrap.exempt(userId, token);
    done.push('its account and device, under the same token');
  } else if (who?.userId !== userId) {
    const previous = await options.previous();
    const isKnown = previous !== null && (await bootstrap.identify(previous))?.userId === userId;
    now = isKnown ? previous : await newToken(options);
    await keepToken(now);
    done.push(isKnown ? 'the access token of before' : 'a new access token');
    if (!isKnown) await bootstrap.exempt(userId, now);
  }
  const room = await enterRoom(options, (request) => bootstrap.client({ ...request, token: now }));
  if (room !== null) done.push(room);
  return done;
}

async function newToken({ bootstrap, deviceId, ids, registrationSecret, userId }: ReattachOptions): Promise<Secret> {
  const attempted = `make a token for ${userId}`;
  const secret = await registrationSecret();
  if (secret === null)
    throw new Failure('restore.not-attached', { attempted, reason: 'the homeserver has no registration_shared_secret to make one by' });
  const localpart = userId.slice(1, userId.indexOf(':'));
  const authority = { kind: 'registration-secret', secret } as const;
  try {
    return await bootstrap.obtainToken(authority, localpart, deviceId, forgetful());
  } catch (error) {
    if (!(error instanceof Failure) || error.id !== 'init.account-taken') throw error;
  }
  // The account is older than the token: an admin that is made for this, and goes again, makes a new one.
  const helper = `steward-restore-${ids.short(8)}`;
  const helperId = `@${helper}:${userId.slice(userId.indexOf(':') + 1)}`;
  const admin = await bootstrap.obtainToken(authority, helper, 'RESTORE', forgetful());
  try {
    await bootstrap.requireBot(userId, admin);
    await bootstrap.deleteDevice(userId, deviceId, admin);
    return await bootstrap.obtainToken({ kind: 'admin-token', secret: admin }, localpart, deviceId, forgetful());
  } catch (error) {
    if (!(error instanceof Failure) || error.id !== 'init.account-taken') throw error;
    throw new Failure('restore.not-attached', {
      attempted,
      reason: error.reason,
      hint: `No password is set on an account that Steward has not made: put a token of ${userId} into \`homeserver.access_token_file\`, then \`steward server reload\`.`,
    });
  } finally {
    await bootstrap.erase(helperId, admin);
  }
}

/** @returns what was done, or null when Steward sits in its room */
async function enterRoom({ encrypted, members, moveRoom, rooms, userId }: ReattachOptions, api: ClientApi): Promise<string | null> {
  const joined = await joinedRooms(api);
  for (const [at, roomId] of rooms.entries()) {
    if (!joined.includes(roomId) && !(await canJoin(api, roomId))) continue;
    if (at > 0) moveRoom(roomId);
    return at > 0 ? 'back in the room of the configuration' : null;
  }
  if (rooms.length === 0) return null;
  // The room is younger than the data. One that a run which broke off has made is taken.
  const to = (await ownRoom(api, userId)) ?? (await makeAdminRoom(api, { botId: userId, members: [], encrypted }));
  moveRoom(to);
  for (const member of members) await inviteMembers(api, to, [member]).catch(() => []);
  return `a new admin room, ${to}`;
}

/** False where the room is not there, or does not let Steward in. */
async function canJoin(api: ClientApi, roomId: string): Promise<boolean> {
  try {
    await joinRoom(api, roomId);
    return (await joinedRooms(api)).includes(roomId);
  } catch (error) {
    if (error instanceof Failure && (error.id === 'homeserver.refused' || error.id === 'homeserver.bad-answer')) return false;
    throw error;
  }
}

async function ownRoom(api: ClientApi, userId: string): Promise<string | null> {
  for (const roomId of await joinedRooms(api)) {
    const state = await roomState(api, roomId);
    const isOurs = state.some(({ type, sender, content }) => type === 'm.room.create' && sender === userId && content[marker] === true);
    if (isOurs && !state.some(({ type }) => type === 'm.room.tombstone')) return roomId;
  }
  return null;
}

/** A run that breaks off is begun again from the start. */
function forgetful(): PendingPassword {
  return { read: () => Promise.resolve(null), keep: () => Promise.resolve(), drop: () => Promise.resolve() };
}
