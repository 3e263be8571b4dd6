import type { Config } from '../config/schema.ts';
import type { Expectation } from './inspection.ts';

/** @param wasEncrypted whether the room was ever seen encrypted, which it then must stay */
export function expectationOf(config: Config, wasEncrypted: boolean): Expectation {
  const people = Object.values(config.people);
  const isOwner = (roles: readonly string[]): boolean => roles.some((role) => config.roles[role]?.owner === true);
  const { encrypted, federated, history, members } = config.room?.expect ?? {
    encrypted: false,
    federated: false,
    history: 'joined',
    members: [],
  };
  return {
    botId: config.homeserver?.userId ?? '',
    accounts: new Set(people.flatMap(({ userIds }) => userIds)),
    owners: new Set(people.flatMap(({ userIds, roles }) => (isOwner(roles) ? userIds : []))),
    others: members,
    encrypted: encrypted || wasEncrypted,
    federated,
    history,
  };
}
