import type { Config } from '../config/schema.ts';
import type { ApprovalWay } from '../store/approvals.ts';
import { tiers, type Tier } from './tier.ts';

export type ApprovalMode = Config['approval']['mode'];

/** What one tier asks for. */
export interface TierRule {
  /** `none` runs at once. */
  way: ApprovalWay | 'none';
  approver: 'requester' | 'others';
  /** Milliseconds in which it must be given. */
  within: (config: Config) => number;
  /** Milliseconds between the approval and the run, in which it can be vetoed. */
  countdown: (config: Config) => number;
  /** Whether it is told off the server when it is approved. */
  alert: boolean;
  /** The rule in words, for help, answers and docs. */
  words: string;
}

const none = (words: string): TierRule => ({
  ...{ way: 'none', approver: 'requester', alert: false, words },
  within: () => 0,
  countdown: () => 0,
});
const rule = (way: ApprovalWay, approver: TierRule['approver'], within: TierRule['within'], words: string): TierRule => ({
  ...{ way, approver, within, words },
  countdown: () => 0,
  alert: false,
});

const read = none('changes nothing');
const change = none('runs at once; the answer says how to undo it');
const confirmed = rule('confirm', 'requester', ({ limits }) => limits.confirmation, 'waits for ✅ of the person who asked, or `-y`');

/** What each tier asks for in both modes: the whole of it, in one place. */
const rules: Record<ApprovalMode, Record<Tier, TierRule>> = {
  'two-person': {
    read,
    change,
    confirmed,
    destructive: rule('reaction', 'others', ({ approval }) => approval.destructive, 'waits for ✅ of another person'),
    catastrophic: {
      ...rule(
        'code',
        'others',
        ({ approval }) => approval.catastrophic,
        'waits for a code that another person types; then a countdown that any operator may veto',
      ),
      countdown: ({ approval }) => approval.countdown,
    },
  },
  single: {
    read,
    change,
    confirmed,
    destructive: rule('target', 'requester', ({ approval }) => approval.destructive, 'waits until the person who asked types the target'),
    catastrophic: {
      ...rule(
        'code',
        'requester',
        ({ approval }) => approval.catastrophic,
        'waits until the person who asked types a code; then a longer countdown, and an alert off the server',
      ),
      countdown: ({ approval }) => approval.countdownSingle,
      alert: true,
    },
  },
};

export function ruleOf(mode: ApprovalMode, tier: Tier): TierRule {
  return rules[mode][tier];
}

/** Each tier with its words in both modes, from least to most. */
export const tierTable: readonly (readonly [tier: Tier, twoPerson: string, single: string])[] = tiers.map((tier) => [
  tier,
  rules['two-person'][tier].words,
  rules.single[tier].words,
]);
