import { Failure } from '../../failures/failure.ts';
import type { Line } from '../../reply/parts.ts';
import { objectsOf } from '../../workflow/plan.ts';
import { atLeast, type Tier } from '../../workflow/tier.ts';
import type { CommandContext } from '../context.ts';
import { groupOf, type Command } from '../define.ts';
import { planOf } from '../dispatch.ts';
import { parseLine } from '../grammar/parse.ts';
import { holdsSecret, mayHoldPassword } from '../grammar/secrets.ts';
import { assertMayRequestInner } from './shared.ts';

/** Groups and commands that talk with the person who typed them, or decide about others. */
const attended = new Set(['help', 'undo', 'schedule', 'approval', 'job', 'me']);

/** The command that a schedule is to run, read and planned as it stands now. */
export interface Inner {
  command: Command;
  /** The line as it was typed, its spaces put right. */
  line: string;
  tier: Tier;
  /** ", because …" where the tier is higher than declared. */
  because: string;
  /** How many objects it would change now. */
  objects: number;
  changes: readonly Line[];
  permanent: readonly Line[];
}

/** @throws Failure where it cannot run in a schedule, with the piece that is wrong */
export async function readInner(ctx: CommandContext, typed: string, attempted: string): Promise<Inner> {
  const line = typed.trim().replace(/^!/, '');
  if (holdsSecret(line) || mayHoldPassword(ctx.registry, line)) throw new Failure('usage.secret-in-command', { attempted });
  const read = parseLine(ctx.registry, line, '');
  if (!read.ok) {
    const { failure, excerpt } = read.mistake;
    throw new Failure(failure.id, { attempted, reason: failure.reason, hint: failure.hint, excerpt });
  }
  const { command, args, flags } = read.parsed;
  const refused = refusal(command, flags);
  if (refused !== null) throw new Failure('schedule.not-schedulable', { attempted, reason: refused });
  if (command.kind !== 'write') {
    assertMayRequestInner(ctx, command, command.tier, attempted);
    return { command, line, tier: command.tier, because: '', objects: 0, changes: [], permanent: [] };
  }
  const { plan, refused: failures } = await planOf(ctx, command, [args]);
  if (plan === null) throw failures[0]?.failure ?? new Failure('access.plan-changed', { attempted });
  assertMayRequestInner(ctx, command, plan.tier, attempted);
  const because = plan.reasons.length === 0 ? '' : `, because ${plan.reasons.join(' and ')}`;
  if (atLeast(plan.tier, 'catastrophic'))
    throw new Failure('schedule.not-schedulable', {
      attempted,
      reason: `\`${command.name}\` is ${plan.tier}${because}`,
      hint: 'What is catastrophic is approved each time. Type the command when it is wanted.',
    });
  const items = plan.items;
  return {
    ...{ command, line, tier: plan.tier, because, objects: objectsOf(plan) },
    changes: items.flatMap((item) => item.changes),
    permanent: items.flatMap((item) => item.permanent ?? []),
  };
}

function refusal(command: Command, flags: { help: boolean; dryRun: boolean }): string | null {
  if (flags.help || attended.has(groupOf(command))) return `\`${flags.help ? 'help' : command.name}\` is for a person who is there`;
  return flags.dryRun ? 'a dry run changes nothing' : null;
}
