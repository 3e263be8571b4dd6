import { Failure } from '../failures/failure.ts';
import type { UserDetails } from '../homeserver/synapse/shapes.ts';
import type { PlanItem } from '../workflow/plan.ts';
import { personOf } from '../workflow/roles.ts';
import type { CommandContext } from './context.ts';

/** What no flag lifts (docs/security.md). */

/**
 * Refuses to take an account out of use: the bot, the requester's own, application services', protected patterns, and
 * the last active server admin.
 *
 * @param attempted what the command would do, for the error
 */
export async function assertMayHarm(ctx: CommandContext, user: UserDetails, attempted: string): Promise<void> {
  const userId = user.name;
  if (userId === ctx.config.homeserver?.userId) throw new Failure('guard.self', { attempted });
  if (isOwn(ctx, userId)) throw new Failure('guard.requester', { attempted });
  if (user.appservice_id !== null) throw new Failure('guard.appservice', { attempted });
  const pattern = ctx.config.guards.protected.find((glob) => matchesGlob(userId, glob));
  if (pattern !== undefined) throw new Failure('guard.protected', { attempted, reason: `it matches the protected pattern ${pattern}` });
  if (user.admin && !user.deactivated && !(await otherActiveAdmin(ctx, userId))) throw new Failure('guard.last-admin', { attempted });
}

/** Whoever can give control of a person's account could make himself his own second person. */
export function controlOverPerson(ctx: CommandContext, userId: string): Pick<PlanItem, 'raise' | 'controls'> {
  const person = personOf(ctx.config, userId);
  return person === null
    ? {}
    : { raise: { tier: 'catastrophic', reason: `${userId} is an account of ${person}, who is named in \`people:\`` }, controls: person };
}

function isOwn(ctx: CommandContext, userId: string): boolean {
  const { requester } = ctx;
  if (requester.kind === 'shell') return false;
  return requester.userId === userId || (ctx.config.people[requester.person]?.userIds.includes(userId) ?? false);
}

async function otherActiveAdmin(ctx: CommandContext, userId: string): Promise<boolean> {
  const pageSize = 100;
  for (let from: string | null = '0'; from !== null;) {
    const page = await ctx.homeserver.users({ admins: true, deactivated: false }, from, pageSize);
    for (const row of page.users) {
      if (row.name === userId || row.name === ctx.config.homeserver?.userId || row.locked) continue;
      // The list does not say who is suspended.
      const details = await ctx.homeserver.user(row.name);
      if (details !== null && details.admin && !details.deactivated && !details.locked && !details.suspended) return true;
    }
    from = page.next_token;
  }
  return false;
}

function matchesGlob(text: string, glob: string): boolean {
  const pattern = glob
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${pattern}$`, 'u').test(text);
}
