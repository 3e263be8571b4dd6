import type { Plan } from '../workflow/plan.ts';
import { tiers, type Tier } from '../workflow/tier.ts';
import type { Requester } from './context.ts';

/** How a change gets its leave: none needed, ✅ of the requester, or the target typed in the shell. */
export type Leave = { kind: 'none' } | { kind: 'confirm' } | { kind: 'type-target'; target: string };

/** What each tier asks for, in help, answers and docs. */
export const leaveWords: Record<Tier, string> = {
  read: 'changes nothing',
  change: 'runs at once; the answer says how to undo it',
  confirmed: 'waits for ✅ of the person who asked, or `-y`',
  destructive: 'loses data: in the shell only, by typing the target',
  catastrophic: 'can take the server: refused',
};

/** The leave that a plan needs, or null where nobody can give it. */
export function leaveFor(plan: Plan, yes: boolean, requester: Requester): Leave | null {
  switch (plan.tier) {
    case 'read':
    case 'change':
      return { kind: 'none' };
    case 'confirmed':
      return yes ? { kind: 'none' } : { kind: 'confirm' };
    case 'destructive': {
      const target = plan.items.length === 1 ? plan.items[0]?.targets[0]?.id : String(plan.items.length);
      return requester.kind === 'shell' && target !== undefined ? { kind: 'type-target', target } : null;
    }
    case 'catastrophic':
      return null;
  }
}

/** Every tier with its words, from least to most. */
export const tierTable: readonly (readonly [Tier, string])[] = tiers.map((tier) => [tier, leaveWords[tier]]);
