import type { Tier } from '../workflow/tier.ts';
import type { Requester } from './context.ts';
import type { Command } from './define.ts';

/**
 * Something that may forbid a command now, whoever asks: a freeze, a lock-down, a lock that a job holds, too many commands
 * of one person. Asked before a command is read or planned with its declared tier, after planning with the plan's own,
 * and once more just before a job runs. Reads only; throws a Failure to refuse.
 */
export type Gate = (asked: Asked) => void;

export interface Asked {
  command: Command;
  tier: Tier;
  requester: Requester;
}

/** @throws Failure of the first gate that refuses */
export function passGates(gates: readonly Gate[], asked: Asked): void {
  for (const gate of gates) gate(asked);
}
