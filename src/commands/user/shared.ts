import { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type { UserDetails } from '../../homeserver/synapse/shapes.ts';
import type { Inline, Line } from '../../reply/parts.ts';
import type { Delivery } from '../../secrets/sink.ts';
import { z } from 'zod';
import { userIdOf } from '../arguments.ts';
import type { CommandContext } from '../context.ts';
import type { RunNote } from '../define.ts';

/** What the commands on accounts share. */

export const deliveryShape = z
  .object({ sink: z.string(), name: z.string(), expiresAt: z.iso.datetime() })
  .nullable()
  .describe('Where the password lies, or null when it was given.');

export const passwordSecret = { password: { alias: 'p', description: 'The password, instead of a generated one.' } } as const;

/** @throws Failure `user.not-local`, `user.not-found` */
export async function existingUser(ctx: CommandContext, reference: string, attempted: (userId: string) => string): Promise<UserDetails> {
  const userId = localUserId(ctx, reference, attempted);
  const user = await ctx.homeserver.user(userId);
  if (user === null) throw new Failure('user.not-found', { attempted: attempted(userId) });
  return user;
}

/** @throws Failure `user.not-local` */
export function localUserId(ctx: CommandContext, reference: string, attempted: (userId: string) => string): string {
  const userId = userIdOf(reference, ctx.homeserver.serverName);
  if (userId.slice(userId.indexOf(':') + 1) !== ctx.homeserver.serverName)
    throw new Failure('user.not-local', { attempted: attempted(userId), reason: `the account is not on ${ctx.homeserver.serverName}` });
  return userId;
}

/** @throws Failure `guard.identity-provider` */
export async function assertOwnsAccounts(ctx: CommandContext, attempted: string): Promise<void> {
  if (await ctx.homeserver.delegatesAuthentication()) throw new Failure('guard.identity-provider', { attempted });
}

/** Letters and digits that nobody mistakes for each other; 24 of them are 137 bits. */
const alphabet = '23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/**
 * Sets a password: the one that was given in the shell, or a new one that lies in the sink before the server knows it,
 * so that a crash never leaves a password that nobody has.
 *
 * @param set tells the homeserver
 */
export async function withPassword(ctx: CommandContext, userId: string, set: (password: Secret) => Promise<void>): Promise<RunNote> {
  const given = ctx.secrets.get('password');
  const password = given ?? new Secret(ctx.ids.secret(alphabet, 24));
  const delivery = given === undefined ? await ctx.sink.put({ userId, password, homeserverUrl: ctx.config.homeserver?.url ?? '' }) : null;
  try {
    await set(password);
    return { password, delivery };
  } catch (error) {
    if (error instanceof Failure && error.id === 'homeserver.outcome-unknown') return { password, delivery, unanswered: error };
    // Only where the server surely did not take it is the note worth nothing.
    if (delivery !== null) await ctx.sink.withdraw(userId);
    throw error;
  }
}

/** The delivery of a password that was set, as results carry it. After a crash the note is empty, and the sink is asked. */
export async function delivered(ctx: CommandContext, userId: string, note: RunNote): Promise<z.input<typeof deliveryShape>> {
  const delivery = 'delivery' in note ? (note['delivery'] as Delivery | null) : ctx.sink.find(userId);
  if (delivery === null) {
    // What lies there is older than the password that was given.
    await ctx.sink.remove(userId);
    return null;
  }
  await ctx.sink.keep(userId);
  return { sink: delivery.sink, name: delivery.name, expiresAt: new Date(delivery.expiresAt).toISOString() };
}

/**
 * Whether the password that was set logs in.
 *
 * @returns null when logging in could not be tried: the server bounds logins, or a crash lost the password
 */
export async function provePassword(ctx: CommandContext, userId: string, note: RunNote): Promise<boolean | null> {
  const password = note['password'];
  if (!(password instanceof Secret)) return null;
  try {
    return await ctx.homeserver.passwordWorks(userId, password);
  } catch (error) {
    if (error instanceof Failure && error.id === 'homeserver.rate-limited') return null;
    throw error;
  }
}

/** Takes the note back whose password the server does not have, unless it may come to have it. @returns null, for a read-back */
export async function notThere(ctx: CommandContext, userId: string, note: RunNote): Promise<null> {
  if (note['delivery'] !== null && note['unanswered'] === undefined) await ctx.sink.withdraw(userId);
  return null;
}

export function passwordLine(delivery: z.input<typeof deliveryShape>): Line {
  return delivery === null ? ['as given'] : ['in the file ', { code: delivery.name }, ' until ', { time: Date.parse(delivery.expiresAt) }];
}

export function nameOf(user: Pick<UserDetails, 'name' | 'displayname'>): Inline {
  return { id: user.name, name: user.displayname };
}
