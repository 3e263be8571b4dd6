import type { Config } from '../config/schema.ts';
import { Failure } from '../failures/failure.ts';
import type { IdentityPins, IdentityStanding } from '../store/identity-pins.ts';
import type { Gate } from './gate.ts';

/** How the cross-signing identity of a person stands: one account that has changed is enough. */
export function identityStanding(pins: IdentityPins, config: Config, person: string): IdentityStanding {
  return pins.standing(config.people[person]?.userIds ?? []);
}

/** Whose identity has changed asks for nothing but reads, until another person has confirmed the new one. */
export function identityGate(pins: IdentityPins, config: () => Config): Gate {
  return ({ command, tier, requester }) => {
    if (tier === 'read' || requester.kind !== 'person') return;
    if (identityStanding(pins, config(), requester.person) === 'changed')
      throw new Failure('access.identity-changed', { attempted: `run \`${command.name}\`` });
  };
}
