import { ways } from '../../config/schema.ts';
import { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type { UserDetails } from '../../homeserver/synapse/shapes.ts';
import type { Inline, Line } from '../../reply/parts.ts';
import type { Account, Choice, Way } from '../../secrets/ladder.ts';
import type { Delivery } from '../../secrets/sink.ts';
import { z } from 'zod';
import { userIdOf } from '../arguments.ts';
import type { CommandContext } from '../context.ts';
import type { RunNote } from '../define.ts';

/** What the commands on accounts share. */

export const deliveryShape = z
  .object({
    sink: z.enum(ways).describe('The way it takes.'),
    name: z.string().describe('Where to: a path on the host, an age recipient, an e-mail address.'),
    expiresAt: z.iso.datetime().nullable().describe('When it is removed from the host, or null where it does not lie there.'),
    why: z.array(z.string()).describe('Why it is none of the ways before it.'),
  })
  .nullable()
  .describe('Where the password is, or null when it was given.');

export const deliverArgument = z
  .enum(ways, ways.join(', '))
  .optional()
  .describe('How the password reaches you; what cannot be falls to the next. Default: `secrets.deliver` of the configuration.')
  .meta({ value: 'WAY' });

export const howDelivered =
  'A generated password is told in no room. It goes, by the first way that can be: to nobody (`invite`: its owner makes one by "Forgot password?" and e-mail), to you in an encrypted direct message (`dm`), to you as a file encrypted to your age key (`age`, see `me age`), or to a file on the host (`file`).';

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

/** How a new password of an account reaches whoever asks. */
export async function chooseWay(ctx: CommandContext, asked: Way | undefined, account: Account): Promise<Choice> {
  const { requester, config, ladder } = ctx;
  const asker = requester.kind === 'person' ? requester : { person: null, userId: null };
  return ladder.choose(config.secrets.deliver, asked, asker, account);
}

/** What a plan says of the way. */
export function wayLine(choice: Choice): Line {
  if (choice.way === 'file') return ['put the password into a file on the host', ...whyNot(choice.why)];
  const to = choice.to ?? '';
  if (choice.way === 'invite') return ['tell nobody a password: its owner makes one by e-mail to ', { code: to }, ...whyNot(choice.why)];
  if (choice.way === 'dm') return ['tell you the password in an encrypted direct message', ...whyNot(choice.why)];
  return ['hand the password over encrypted to your age key ', { code: to }, ...whyNot(choice.why)];
}

/**
 * Sets a password: the one that was given in the shell, or a new one that lies in the sink before the server knows it,
 * so that a crash never leaves a password that nobody has.
 *
 * @param set tells the homeserver
 */
export async function withPassword(
  ctx: CommandContext,
  userId: string,
  choice: Choice,
  set: (password: Secret) => Promise<void>,
): Promise<RunNote> {
  const given = ctx.secrets.get('password');
  const password = given ?? new Secret(ctx.ids.secret(alphabet, 24));
  const isKept = given === undefined && choice.way !== 'invite';
  const delivery = isKept ? await ctx.sink.put({ userId, password, homeserverUrl: ctx.config.homeserver?.url ?? '' }) : null;
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
export async function delivered(
  ctx: CommandContext,
  userId: string,
  choice: Choice,
  note: RunNote,
): Promise<z.input<typeof deliveryShape>> {
  const { handovers } = ctx.ladder;
  const requesterId = ctx.requester.kind === 'person' ? ctx.requester.userId : null;
  const delivery = 'delivery' in note ? (note['delivery'] as Delivery | null) : choice.way === 'invite' ? null : ctx.sink.find(userId);
  if (delivery === null) {
    // What lies there is older than the password that was given, or that nobody has.
    handovers.drop(userId);
    await ctx.sink.remove(userId);
    return ctx.secrets.has('password') || choice.way !== 'invite'
      ? null
      : { sink: choice.way, name: choice.to ?? '', expiresAt: null, why: choice.why };
  }
  // Before the older note goes: from here on a crash hands over what lies there.
  handovers.hold(userId, requesterId, choice);
  await ctx.sink.keep(userId);
  return {
    sink: choice.way,
    name: choice.to ?? delivery.name,
    expiresAt: new Date(delivery.expiresAt).toISOString(),
    why: choice.why,
  };
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
  if (delivery === null) return ['as given'];
  const why = whyNot(delivery.why);
  switch (delivery.sink) {
    case 'invite':
      return ['nobody has one: its owner chooses "Forgot password?" in a client and gives ', { code: delivery.name }, ...why];
    case 'dm':
      return ['in an encrypted direct message to you; accept my invitation if there is a new one', ...why];
    case 'age':
      return ['in the age file that follows, for your key ', { code: delivery.name }, ...why];
    case 'file': {
      const until: Line = delivery.expiresAt === null ? [] : [' until ', { time: Date.parse(delivery.expiresAt) }];
      return ['in the file ', { code: delivery.name }, ...until, ...why];
    }
  }
}

function whyNot(why: readonly string[]): Line {
  return why.length === 0 ? [] : [` (${why.join('; ')})`];
}

export function emailOf(user: UserDetails): string | null {
  return user.threepids.find(({ medium }) => medium === 'email')?.address ?? null;
}

export function nameOf(user: Pick<UserDetails, 'name' | 'displayname'>): Inline {
  return { id: user.name, name: user.displayname };
}
