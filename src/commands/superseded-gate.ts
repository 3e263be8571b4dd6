import { Failure } from '../failures/failure.ts';
import type { Gate } from './gate.ts';

/** Where a copy of the store has taken over, this one changes nothing: also not for the shell, and not by a schedule. */
export function supersededGate(instance: { isSuperseded: boolean }): Gate {
  return ({ command }) => {
    if (command.kind === 'write' && instance.isSuperseded) throw new Failure('store.superseded', { attempted: `run \`${command.name}\`` });
  };
}
