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
  emailOf,
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

interface Data {
  userId: string;
  keepDevices: boolean;
  deliver: Choice;
}

export const userUpdatePassword = defineWrite({
  name: 'user update-password',
  summary: 'Set a new generated password and log the account out everywhere.',
  details: ['Steward logs in with it once to prove that it works, which counts as activity of the account.', howDelivered],
  tier: 'confirmed',
  lock: 'none',
  formerly: ['update-password'],
  bulk: true,
  args: z.strictObject({
    user: userReference.describe('The account.').meta({ positional: 0, alias: 'u', value: 'USER' }),
    keepDevices: z.boolean().default(false).describe('Leave its devices logged in.'),
    deliver: deliverArgument,
  }),
  secrets: passwordSecret,
  result: z.object({
    userId: z.string(),
    displayName: z.string().nullable(),
    devicesKept: z.boolean(),
    proven: z.boolean().describe('Whether a login with it was tried and worked.'),
    password: deliveryShape,
  }),
  examples: ['user update-password alice', 'user update-password alice --keep-devices -y'],

  async plan(ctx, args) {
    const attempted = (userId: string): string => `set the password of ${userId}`;
    const user = await existingUser(ctx, args.user, attempted);
    if (user.deactivated)
      throw new Failure('user.already-deactivated', {
        attempted: attempted(user.name),
        hint: `\`!user reactivate ${user.name}\` brings it back with a new password.`,
      });
    await assertOwnsAccounts(ctx, attempted(user.name));
    await assertMayHarm(ctx, { ...user, admin: false }, attempted(user.name));
    const devices = args.keepDevices ? 0 : (await ctx.homeserver.devices(user.name)).length;
    const deliver = await chooseWay(ctx, args.deliver, { userId: user.name, email: emailOf(user) });
    return {
      targets: [{ id: user.name, name: user.displayname }],
      changes: [
        ['set a new password for ', nameOf(user)],
        ...(args.keepDevices ? [['leave its devices logged in']] : [[`log out its ${devices} ${devices === 1 ? 'device' : 'devices'}`]]),
        wayLine(deliver),
      ],
      permanent: args.keepDevices || devices === 0 ? [] : [['the old password and the sessions of its devices']],
      ...controlOverPerson(ctx, user.name),
      ...(user.admin ? { raise: { tier: 'catastrophic' as const, reason: 'it is a server admin' } } : {}),
      data: { userId: user.name, keepDevices: args.keepDevices, deliver } satisfies Data,
    };
  },

  async run(ctx, data: Data) {
    return withPassword(ctx, data.userId, data.deliver, (password) =>
      ctx.homeserver.putUser(data.userId, { password, logoutDevices: !data.keepDevices }),
    );
  },

  async readBack(ctx, data, note) {
    // After a crash nothing on the server tells an old password from a new one.
    if (!('password' in note)) throw new Failure('job.unknown', { attempted: `set the password of ${data.userId}` });
    const proven = await provePassword(ctx, data.userId, note);
    const user = await ctx.homeserver.user(data.userId);
    if (proven === false || user === null || (proven === null && 'unanswered' in note)) return notThere(ctx, data.userId, note);
    return {
      userId: user.name,
      displayName: user.displayname,
      devicesKept: data.keepDevices,
      proven: proven === true,
      password: await delivered(ctx, data.userId, data.deliver, note),
    };
  },

  reply: (result) => [
    text('New password for ', { id: result.userId, name: result.displayName }, '.'),
    fields(
      ['password', passwordLine(result.password)],
      ['devices', [result.devicesKept ? 'left logged in' : 'logged out']],
      ['proof', [result.proven ? 'a login with it worked' : 'the homeserver took it; a login was not tried, because it bounds logins']],
    ),
  ],
});
