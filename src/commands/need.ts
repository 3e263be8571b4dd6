import { Failure, type FailureDetails } from '../failures/failure.ts';
import { ruleOf } from '../workflow/approval.ts';
import { groupsOf } from '../workflow/approvals.ts';
import type { Need } from '../workflow/jobs.ts';
import { planHash, type Plan } from '../workflow/plan.ts';
import type { CommandContext } from './context.ts';

export interface Given {
  /** `-y`: confirms what the requester may confirm alone. */
  yes: boolean;
  /** The reason given with the shell's `--break-glass`, or null. */
  breakGlass: string | null;
}

/**
 * What a plan needs before it may run, by its tier, the mode, and where it was asked; null where it runs at once.
 *
 * @throws Failure `approval.plain-room`, `approval.no-room`, `approval.nobody` where nobody could give it
 */
export function needFor(ctx: CommandContext, plan: Plan, { yes, breakGlass }: Given): Need | null {
  const { config, requester } = ctx;
  const rule = ruleOf(config.approval.mode, plan.tier);
  if (rule.way === 'none' || (requester.kind === 'shell' && breakGlass !== null)) return null;
  if (rule.way === 'confirm' && yes) return null;
  const inShell = requester.kind === 'shell';
  const need: Need = {
    way: rule.way,
    approver: rule.approver,
    persons: 1,
    excluded: [],
    typed: null,
    place: inShell && rule.approver === 'requester' ? 'terminal' : 'room',
    countdown: rule.countdown(config),
    until: ctx.clock.now() + rule.within(config),
  };
  if (rule.way === 'confirm') return need;
  if (rule.way === 'target') return { ...need, typed: targetOf(plan) };
  const attempted = planTitle(plan);
  if (rule.way === 'code' && need.place === 'room') assertRoomIsTrusted(ctx, plan, attempted);
  if (rule.approver === 'requester') return { ...need, typed: ctx.approvals.newCode(planHash(plan)) };
  return askOthers(ctx, plan, need, attempted);
}

function askOthers(ctx: CommandContext, plan: Plan, need: Need, attempted: string): Need {
  const { requester } = ctx;
  const inShell = requester.kind === 'shell';
  if (inShell && ctx.room === null) throw new Failure('approval.no-room', { attempted });
  // The shell names no person: two of the room stand in for the one who asks and the one who approves.
  const persons = inShell && need.way === 'code' ? 2 : 1;
  const excluded = [...new Set(plan.items.flatMap(({ controls }) => controls ?? []))];
  const approvers = ctx.approvals.approvers({
    groups: groupsOf(plan),
    tier: plan.tier,
    requester: requester.kind === 'person' ? requester.person : null,
    excluded,
  });
  if (approvers.length < persons)
    throw new Failure('approval.nobody', {
      attempted,
      reason: `${because(plan)}${persons === 2 ? 'two other persons' : 'another person'} must approve it${excluded.length === 0 ? '' : ` who is not ${excluded.join(' or ')}`}, and there ${approvers.length === 1 ? 'is only one' : 'is none'}`,
    });
  return { ...need, persons, excluded, typed: need.way === 'code' ? ctx.approvals.newCode(planHash(plan)) : null };
}

function assertRoomIsTrusted(ctx: CommandContext, plan: Plan, attempted: string): void {
  if (ctx.config.approval.catastrophicInPlainRoom || ctx.room?.encrypted !== false) return;
  const details: FailureDetails = plan.reasons.length === 0 ? {} : { reason: `${because(plan)}and the room is not encrypted` };
  throw new Failure('approval.plain-room', { attempted, ...details });
}

/** "it is catastrophic, because …, " or nothing where the tier is the declared one. */
function because(plan: Plan): string {
  return plan.reasons.length === 0 ? '' : `it is ${plan.tier}, because ${plan.reasons.join(' and ')}; `;
}

/** What is typed for a target: its id, or how many there are. */
function targetOf(plan: Plan): string {
  const only = plan.items.length === 1 ? plan.items[0]?.targets[0]?.id : undefined;
  return only ?? (plan.items.length === 1 ? plan.command : String(plan.items.length));
}

/** "run `user create` on @alice:example.org", or on how many. */
export function planTitle(plan: Plan): string {
  const only = plan.items.length === 1 ? plan.items[0] : undefined;
  const target = only?.targets[0]?.id;
  return target === undefined ? `run \`${plan.command}\` on ${plan.items.length} items` : `run \`${plan.command}\` on ${target}`;
}
