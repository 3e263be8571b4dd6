import type { Config } from '../config/schema.ts';
import { atLeast, type Tier } from '../workflow/tier.ts';
import type { Requester } from './context.ts';

/** The person an account belongs to, or null: membership of the room alone gives nothing. */
export function personOf(config: Config, userId: string): string | null {
  return Object.entries(config.people).find(([, person]) => person.userIds.includes(userId))?.[0] ?? null;
}

/** Names of the people whose role may change Steward itself. */
export function owners(config: Config): string[] {
  return Object.entries(config.people).flatMap(([name, person]) =>
    person.roles.some((role) => config.roles[role]?.owner === true) ? [name] : [],
  );
}

/** User ids of everybody whose role may change Steward itself. */
export function ownerIds(config: Config): string[] {
  return owners(config).flatMap((name) => config.people[name]?.userIds ?? []);
}

/** Every account of the people who have a role: whom an alert pings. */
export function operatorAccounts(config: Config): string[] {
  return Object.values(config.people).flatMap(({ userIds, roles }) => (roles.length > 0 ? userIds : []));
}

/** Whether a requester may ask for a command of this group and tier. The shell may: who reads the socket owns the store. */
export function mayRequest(config: Config, requester: Requester, group: string, tier: Tier): boolean {
  if (requester.kind === 'shell') return true;
  const roles = config.people[requester.person]?.roles ?? [];
  return roles.some((name) => {
    const request = config.roles[name]?.request;
    return request !== undefined && (request.groups.includes('*') || request.groups.includes(group)) && atLeast(request.tier, tier);
  });
}
