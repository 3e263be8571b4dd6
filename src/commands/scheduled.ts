import { asFailure, Failure } from '../failures/failure.ts';
import type { PrepareRun, Preparation } from '../workflow/schedule/scheduler.ts';
import { runId, type Schedule } from '../workflow/schedule/schedule.ts';
import type { CommandContext } from './context.ts';
import { groupOf } from './define.ts';
import type { ContextMaker, Dispatcher } from './dispatch.ts';
import { passGates, type Gate } from './gate.ts';
import type { Registry } from './registry.ts';
import type { StandingApprovals } from '../workflow/standing.ts';
import { atLeast } from '../workflow/tier.ts';
import { mayRequest, personOf } from '../workflow/roles.ts';

/**
 * Whether the person who made a schedule may still run its command.
 *
 * @throws Failure `schedule.role-gone`
 */
export function assertMayRunAsMaker(ctx: CommandContext, schedule: Schedule, attempted: string): void {
  const { requester } = schedule;
  if (requester.kind === 'shell') return;
  const command = ctx.registry.find(schedule.command);
  const group = command === undefined ? '' : groupOf(command);
  if (personOf(ctx.config, requester.userId) !== requester.person)
    throw new Failure('schedule.role-gone', {
      attempted,
      reason: `${requester.person} (${requester.userId}) is not in \`people:\` any more`,
    });
  if (!mayRequest(ctx.config, requester, group, schedule.tier))
    throw new Failure('schedule.role-gone', {
      attempted,
      reason: `the role of ${requester.person} does not include ${schedule.tier} commands of the group \`${group}\` any more`,
    });
}

/** What forbids the command of a schedule now, or null. */
export function whyHeld(registry: Registry, gates: readonly Gate[], { command: name, tier, requester }: Schedule): Failure | null {
  const command = registry.find(name);
  try {
    if (command !== undefined) passGates(gates, { command, tier, requester });
    return null;
  } catch (error) {
    return asFailure(error);
  }
}

/** Runs of schedules, by the same road as what a person types. */
export function prepareScheduled(
  context: ContextMaker,
  dispatcher: Dispatcher,
  gates: readonly Gate[],
  standing: Pick<StandingApprovals, 'leave'>,
): PrepareRun {
  return async (schedule, origin): Promise<Preparation> => {
    const ctx = context(schedule.requester, new Map());
    const attempted = `run \`${schedule.command}\``;
    try {
      assertMayRunAsMaker(ctx, schedule, attempted);
    } catch (error) {
      return { kind: 'stopped', failure: asFailure(error) };
    }
    const held = whyHeld(ctx.registry, gates, schedule);
    if (held !== null) return { kind: 'held', failure: held };
    const prepared = await dispatcher.prepare({
      id: runId(schedule, origin.dueAt),
      requester: schedule.requester,
      origin,
      input: { line: schedule.line },
      items: null,
      secrets: new Map(),
      ...(atLeast(schedule.tier, 'destructive')
        ? { granted: 'confirmed', standing: (plan) => standing.leave(schedule, plan) }
        : { granted: schedule.tier }),
    });
    return prepared.kind === 'answer' ? prepared : { kind: 'job', request: prepared.request };
  };
}
