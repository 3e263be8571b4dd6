import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { fields, text } from '../../reply/parts.ts';
import type { Choice } from '../../secrets/ladder.ts';
import { userReference } from '../arguments.ts';
import { defineWrite } from '../define.ts';
import { assertMayHarm, controlOverPerson } from '../guards.ts';
import {
  assertOwnsAccounts,
  chooseWay,
  delivered,
  deliverArgument,
  deliveryShape,
  existingUser,
  howDelivered,
  nameOf,
  notThere,
  passwordLine,
  passwordSecret,
  provePassword,
  wayLine,
  withPassword,
} from './shared.ts';

interface ReactivateData {
  userId: string;
  deliver: Choice;
}

const attemptedDeactivate = (userId: string): string => `deactivate ${userId}`;
const attemptedReactivate = (userId: string): string => `reactivate ${userId}`;

export const userDeactivate = defineWrite({
  name: 'user deactivate',
  summary: 'Deactivate an account: it can no longer log in, and its name stays taken.',
  details: [
    'Messages stay. Room memberships, devices, keys, e-mail addresses and account data go. `user reactivate` brings the account back, without these.',
  ],
  tier: 'destructive',
  lock: 'none',
  formerly: ['deactivate'],
  bulk: true,
  args: z.strictObject({
    user: userReference.describe('The account.').meta({ positional: 0, alias: 'u', value: 'USER' }),
  }),
  result: z.object({ userId: z.string(), displayName: z.string().nullable(), deactivated: z.literal(true) }),
  examples: ['user deactivate @bob:example.org'],

  async plan(ctx, args) {
    const user = await existingUser(ctx, args.user, attemptedDeactivate);
    if (user.deactivated) throw new Failure('user.already-deactivated', { attempted: attemptedDeactivate(user.name) });
    await assertOwnsAccounts(ctx, attemptedDeactivate(user.name));
    await assertMayHarm(ctx, user, attemptedDeactivate(user.name));
    const [rooms, devices] = await Promise.all([ctx.homeserver.joinedRooms(user.name), ctx.homeserver.devices(user.name)]);
    return {
      targets: [{ id: user.name, name: user.displayname }],
      changes: [['deactivate ', nameOf(user)]],
      permanent: [
        [
          `its membership of ${rooms.length} ${rooms.length === 1 ? 'room' : 'rooms'}, ${devices.length} ${devices.length === 1 ? 'device' : 'devices'} with their keys, ${user.threepids.length} e-mail or phone entries, its account data`,
        ],
      ],
      undo: `user reactivate ${user.name}`,
      data: { userId: user.name },
    };
  },

  async run(ctx, data) {
    await ctx.homeserver.deactivate(data.userId, false);
    try {
      await ctx.sink.markDeactivated(data.userId, ctx.clock.now());
    } catch (error) {
      // The account is out of use; only the note about it could not be marked.
      ctx.log.warn('the note of a deactivated account could not be marked', { user_id: data.userId, error });
    }
    return {};
  },

  async readBack(ctx, data) {
    const user = await ctx.homeserver.user(data.userId);
    if (user?.deactivated !== true) return null;
    return { userId: user.name, displayName: user.displayname, deactivated: true as const };
  },

  reply: (result) => [text('Deactivated ', { id: result.userId, name: result.displayName }, '. It leaves its rooms in the background.')],
});

export const userReactivate = defineWrite({
  name: 'user reactivate',
  summary: 'Bring a deactivated account back with a generated password.',
  details: ['Its rooms, devices, keys and e-mail addresses do not come back.', howDelivered],
  tier: 'change',
  lock: 'none',
  bulk: true,
  args: z.strictObject({
    user: userReference.describe('The account.').meta({ positional: 0, alias: 'u', value: 'USER' }),
    deliver: deliverArgument,
  }),
  secrets: passwordSecret,
  result: z.object({ userId: z.string(), displayName: z.string().nullable(), deactivated: z.literal(false), password: deliveryShape }),
  examples: ['user reactivate @bob:example.org'],

  async plan(ctx, args) {
    const user = await existingUser(ctx, args.user, attemptedReactivate);
    if (!user.deactivated) throw new Failure('user.not-deactivated', { attempted: attemptedReactivate(user.name) });
    await assertOwnsAccounts(ctx, attemptedReactivate(user.name));
    const deliver = await chooseWay(ctx, args.deliver, { userId: user.name, email: null });
    return {
      targets: [{ id: user.name, name: user.displayname }],
      changes: [['reactivate ', nameOf(user), ' with a new password'], wayLine(deliver)],
      ...controlOverPerson(ctx, user.name),
      ...(user.admin ? { raise: { tier: 'catastrophic' as const, reason: 'it is a server admin' } } : {}),
      undo: `user deactivate ${user.name}`,
      data: { userId: user.name, deliver } satisfies ReactivateData,
    };
  },

  async run(ctx, data: ReactivateData) {
    return withPassword(ctx, data.userId, data.deliver, (password) =>
      ctx.homeserver.putUser(data.userId, { deactivated: false, password, logoutDevices: true }),
    );
  },

  async readBack(ctx, data, note) {
    const user = await ctx.homeserver.user(data.userId);
    if (user === null || user.deactivated || (await provePassword(ctx, data.userId, note)) === false)
      return notThere(ctx, data.userId, note);
    return {
      userId: user.name,
      displayName: user.displayname,
      deactivated: false as const,
      password: await delivered(ctx, data.userId, data.deliver, note),
    };
  },

  reply: (result) => [
    text('Reactivated ', { id: result.userId, name: result.displayName }, '. It is in no room.'),
    fields(['password', passwordLine(result.password)]),
  ],
});
