import type { Config } from '../config/schema.ts';
import { Failure } from '../failures/failure.ts';
import type { LockDown } from '../room/lock-down.ts';
import type { Gate } from './gate.ts';
import { owners } from '../workflow/roles.ts';

/** What only owners may do; the shell may, because who reads the socket owns the store. */
export const ownerGate =
  (config: () => Config): Gate =>
  ({ command, requester }) => {
    if (command.owner !== true || requester.kind === 'shell') return;
    const names = owners(config());
    if (names.includes(requester.person)) return;
    throw new Failure('access.owner-only', {
      attempted: `run \`${command.name}\``,
      ...(names.length === 0 ? {} : { hint: `Ask ${names.join(' or ')}.` }),
    });
  };

/** In a lock-down nothing is changed, but by what an owner mends it with. */
export const lockDownGate =
  (lockDown: LockDown): Gate =>
  ({ command, tier }) => {
    if (tier === 'read' || command.owner === true) return;
    const [first] = lockDown.reasons;
    if (first !== undefined)
      throw new Failure('room.locked', { attempted: `run \`${command.name}\``, reason: `Steward is locked: ${first.detail}` });
  };
