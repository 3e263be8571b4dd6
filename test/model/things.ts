import { z } from 'zod';
import { approvalApprove } from '../../src/commands/approval/approve.ts';
import { approvalVeto } from '../../src/commands/approval/veto.ts';
import { defineRead, defineWrite, type Command } from '../../src/commands/define.ts';
import { Registry } from '../../src/commands/registry.ts';
import { text } from '../../src/reply/parts.ts';
import type { Tier } from '../../src/workflow/tier.ts';

/** What the commands of the model act on. It outlives every process of Steward. */
export class Things {
  /** How often each thing was changed. */
  readonly changes = new Map<string, number>();
  readonly #changed: (thing: string) => void;

  constructor(changed: (thing: string) => void) {
    this.#changed = changed;
  }

  change(thing: string): void {
    this.changes.set(thing, (this.changes.get(thing) ?? 0) + 1);
    this.#changed(thing);
  }
}

/** A turn of the event loop, in which a process may be killed. */
const moment = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const verbs = { change: 'change', confirm: 'confirmed', destroy: 'destructive', ruin: 'catastrophic' } as const satisfies Record<
  string,
  Exclude<Tier, 'read'>
>;
export type Verb = keyof typeof verbs;

/** A command of each tier, whose effect is counted. */
export function thingCommands(things: Things, isAlive: () => boolean): Registry {
  const args = z.strictObject({ thing: z.string().meta({ positional: 0 }) });
  const shared = { summary: 'For tests.', lock: 'none', examples: [], args } as const;
  const look = defineRead({
    ...shared,
    name: 'thing look',
    tier: 'read',
    result: z.object({ thing: z.string() }),
    read: (_ctx, { thing }) => Promise.resolve({ thing }),
    reply: ({ thing }) => [text(`looked at ${thing}`)],
  });
  const writes = Object.entries(verbs).map(([verb, tier]): Command =>
    defineWrite({
      ...shared,
      name: `thing ${verb}`,
      tier,
      bulk: false,
      result: z.object({ thing: z.string() }),
      plan: (_ctx, { thing }) => Promise.resolve({ targets: [{ id: thing }], changes: [[`${verb} ${thing}`]], data: thing }),
      run: async (_ctx, thing: string) => {
        await moment();
        if (!isAlive()) await new Promise<never>(() => undefined);
        things.change(thing);
        await moment();
        return {};
      },
      readBack: async (_ctx, thing) => {
        await moment();
        return things.changes.has(thing) ? { thing } : null;
      },
      reply: ({ thing }) => [text(`did ${verb} ${thing}`)],
    }),
  );
  return new Registry([look, ...writes, approvalApprove, approvalVeto]);
}
