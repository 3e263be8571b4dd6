import type { Config } from '../config/schema.ts';
import type { JobRequester } from './job.ts';
import { atLeast, type Tier } from './tier.ts';

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
export function mayRequest(config: Config, requester: JobRequester, group: string, tier: Tier): boolean {
  return requester.kind === 'shell' || reaches(config, requester.person, 'request', group, tier);
}

/** Whether a person may approve what others ask for, of this group and tier. */
export function mayApprove(config: Config, person: string, group: string, tier: Tier): boolean {
  return reaches(config, person, 'approve', group, tier);
}

/** Whether a person has a role at all. */
export function isOperator(config: Config, person: string): boolean {
  return rolesOf(config, person).length > 0;
}

/** The roles of a person that the configuration knows. */
export function rolesOf(config: Config, person: string): Config['roles'][string][] {
  return (config.people[person]?.roles ?? []).flatMap((name) => config.roles[name] ?? []);
}

function reaches(config: Config, person: string, what: 'request' | 'approve', group: string, tier: Tier): boolean {
  return rolesOf(config, person).some((role) => {
    const { groups, tier: highest } = role[what];
    return (groups.includes('*') || groups.includes(group)) && atLeast(highest, tier);
  });
}
