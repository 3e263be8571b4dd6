import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { fields, text, type Line } from '../../reply/parts.ts';
import type { Choice } from '../../secrets/ladder.ts';
import { newUser } from '../arguments.ts';
import { defineWrite } from '../define.ts';
import { controlOverPerson } from '../guards.ts';
import {
  assertOwnsAccounts,
  chooseWay,
  delivered,
  deliverArgument,
  deliveryShape,
  howDelivered,
  localUserId,
  notThere,
  passwordLine,
  passwordSecret,
  wayLine,
  withPassword,
} from './shared.ts';

interface Data {
  userId: string;
  displayName: string | null;
  email: string | null;
  admin: boolean;
  deliver: Choice;
}

export const userCreate = defineWrite({
  name: 'user create',
  summary: 'Create an account with a generated password.',
  details: ['An account that exists is left as it is.', howDelivered],
  tier: 'change',
  lock: 'none',
  formerly: ['create', 'create-user'],
  bulk: true,
  args: z.strictObject({
    user: newUser.describe('Localpart of the new account.').meta({ positional: 0, alias: 'u', value: 'USER' }),
    email: z.email('an e-mail address').optional().describe('E-mail address.').meta({ alias: 'e', value: 'ADDRESS' }),
    displayName: z
      .string()
      .min(1, 'not empty')
      .max(256, 'at most 256 characters')
      .optional()
      .describe('Display name; the localpart when left out.')
      .meta({ alias: 'd', value: 'NAME' }),
    admin: z.boolean().default(false).describe('Make it a server admin.').meta({ alias: 'a' }),
    deliver: deliverArgument,
  }),
  secrets: passwordSecret,
  result: z.object({
    userId: z.string(),
    displayName: z.string().nullable(),
    email: z.string().nullable(),
    admin: z.boolean(),
    password: deliveryShape,
  }),
  examples: ['user create alice', 'user create bob --email bob@example.org --display-name "Bob B"'],

  async plan(ctx, args) {
    const attempted = (userId: string): string => `create ${userId}`;
    const userId = localUserId(ctx, args.user, attempted);
    await assertOwnsAccounts(ctx, attempted(userId));
    const existing = await ctx.homeserver.user(userId);
    if (existing !== null) {
      throw new Failure('user.exists', {
        attempted: attempted(userId),
        ...(existing.deactivated
          ? { reason: 'an account of that name exists, deactivated', hint: `\`!user reactivate ${userId}\` brings it back.` }
          : {}),
      });
    }
    if (args.email !== undefined) {
      const owner = await ctx.homeserver.userOfEmail(args.email.toLowerCase());
      if (owner !== null)
        throw new Failure('user.email-taken', { attempted: attempted(userId), reason: `the e-mail address belongs to ${owner}` });
    }
    const changes: Line[] = [['create ', { id: userId, name: args.displayName }]];
    if (args.email !== undefined) changes.push(['with the e-mail address ', { code: args.email }]);
    if (args.admin) changes.push(['as a server admin']);
    const email = args.email?.toLowerCase() ?? null;
    const deliver = await chooseWay(ctx, args.deliver, { userId, email });
    changes.push(wayLine(deliver));
    return {
      targets: [{ id: userId }],
      changes,
      ...controlOverPerson(ctx, userId),
      ...(args.admin ? { raise: { tier: 'catastrophic' as const, reason: 'it grants the admin flag' } } : {}),
      undo: `user deactivate ${userId}`,
      data: { userId, displayName: args.displayName ?? null, email, admin: args.admin, deliver } satisfies Data,
    };
  },

  async run(ctx, data: Data) {
    // The endpoint would reset an account that somebody else made meanwhile.
    if ((await ctx.homeserver.user(data.userId)) !== null) throw new Failure('user.exists', { attempted: `create ${data.userId}` });
    return withPassword(ctx, data.userId, data.deliver, async (password) => {
      await ctx.homeserver.putUser(data.userId, {
        password,
        logoutDevices: true,
        admin: data.admin,
        ...(data.displayName === null ? {} : { displayname: data.displayName }),
        ...(data.email === null ? {} : { threepids: [{ medium: 'email', address: data.email }] }),
      });
    });
  },

  async readBack(ctx, data, note) {
    const user = await ctx.homeserver.user(data.userId);
    if (user === null || user.deactivated) return notThere(ctx, data.userId, note);
    const email = user.threepids.find(({ medium, address }) => medium === 'email' && address.toLowerCase() === data.email)?.address ?? null;
    const missing = [
      ...(data.displayName !== null && user.displayname !== data.displayName ? ['the display name'] : []),
      ...(data.email !== null && email === null ? ['the e-mail address'] : []),
      ...(user.admin !== data.admin ? ['the admin flag'] : []),
    ];
    if (missing.length > 0)
      throw new Failure('homeserver.not-done', {
        attempted: `create ${data.userId}`,
        reason: `the account is there, but ${missing.join(' and ')} did not arrive`,
      });
    return {
      userId: user.name,
      displayName: user.displayname,
      email,
      admin: user.admin,
      password: await delivered(ctx, data.userId, data.deliver, note),
    };
  },

  reply: (result) => [
    text('Created ', { id: result.userId, name: result.displayName }, '.'),
    fields(
      ['e-mail', result.email === null ? undefined : [{ code: result.email }]],
      ['server admin', result.admin ? ['yes'] : undefined],
      ['password', passwordLine(result.password)],
    ),
  ],
});
