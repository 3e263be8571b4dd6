import { z } from 'zod';
import { fields, text } from '../../reply/parts.ts';
import { userReference } from '../arguments.ts';
import { defineRead } from '../define.ts';
import { existingUser } from './shared.ts';

export const userInfo = defineRead({
  name: 'user info',
  summary: 'Show an account: what it is, its addresses, rooms and devices.',
  tier: 'read',
  lock: 'none',
  formerly: ['info'],
  args: z.strictObject({
    user: userReference.describe('The account.').meta({ positional: 0, alias: 'u', value: 'USER' }),
  }),
  result: z.object({
    userId: z.string(),
    displayName: z.string().nullable(),
    admin: z.boolean(),
    deactivated: z.boolean(),
    erased: z.boolean(),
    locked: z.boolean(),
    suspended: z.boolean(),
    shadowBanned: z.boolean(),
    guest: z.boolean(),
    type: z.string().nullable(),
    appserviceId: z.string().nullable(),
    emails: z.array(z.string()),
    ssoIds: z.array(z.string()),
    createdAt: z.string(),
    lastSeenAt: z.string().nullable(),
    joinedRooms: z.number(),
    devices: z.number(),
  }),
  examples: ['user info alice', 'user info @alice:example.org --json'],

  async read(ctx, args) {
    const user = await existingUser(ctx, args.user, (userId) => `show ${userId}`);
    const [rooms, devices] = await Promise.all([ctx.homeserver.joinedRooms(user.name), ctx.homeserver.devices(user.name)]);
    const lastSeen =
      user.last_seen_ts ??
      devices.reduce<number | null>(
        (latest, device) => (device.last_seen_ts === null ? latest : Math.max(latest ?? 0, device.last_seen_ts)),
        null,
      );
    return {
      userId: user.name,
      displayName: user.displayname,
      admin: user.admin,
      deactivated: user.deactivated,
      erased: user.erased,
      locked: user.locked,
      suspended: user.suspended,
      shadowBanned: user.shadow_banned,
      guest: user.is_guest,
      type: user.user_type,
      appserviceId: user.appservice_id,
      emails: user.threepids.filter(({ medium }) => medium === 'email').map(({ address }) => address),
      ssoIds: user.external_ids.map(({ auth_provider, external_id }) => `${auth_provider}: ${external_id}`),
      createdAt: new Date(user.creation_ts * 1000).toISOString(),
      lastSeenAt: lastSeen === null ? null : new Date(lastSeen).toISOString(),
      joinedRooms: rooms.length,
      devices: devices.length,
    };
  },

  reply: (result) => {
    const states = [
      result.deactivated ? 'deactivated' : 'active',
      ...(result.erased ? ['erased'] : []),
      ...(result.locked ? ['locked'] : []),
      ...(result.suspended ? ['suspended'] : []),
      ...(result.shadowBanned ? ['shadow-banned'] : []),
    ];
    const kinds = [
      ...(result.admin ? ['server admin'] : []),
      ...(result.type === null ? [] : [result.type]),
      ...(result.guest ? ['guest'] : []),
      ...(result.appserviceId === null ? [] : [`application service ${result.appserviceId}`]),
    ];
    return [
      text({ id: result.userId, name: result.displayName }),
      fields(
        ['state', [states.join(', ')]],
        ['is', kinds.length === 0 ? undefined : [kinds.join(', ')]],
        ['e-mail', result.emails.length === 0 ? undefined : [result.emails.join(', ')]],
        ['SSO', result.ssoIds.length === 0 ? undefined : [result.ssoIds.join(', ')]],
        ['created', [{ time: Date.parse(result.createdAt) }]],
        ['last seen', result.lastSeenAt === null ? ['never'] : [{ time: Date.parse(result.lastSeenAt) }]],
        ['rooms', [String(result.joinedRooms)]],
        ['devices', [String(result.devices)]],
      ),
    ];
  },
});
