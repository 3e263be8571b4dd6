/** How much a command can hurt, from least to most (docs/security.md has what each asks for). */
export const tiers = ['read', 'change', 'confirmed', 'destructive', 'catastrophic'] as const;

export type Tier = (typeof tiers)[number];

export function highestTier(first: Tier, ...others: readonly Tier[]): Tier {
  return others.reduce((highest, tier) => (atLeast(tier, highest) ? tier : highest), first);
}

export function atLeast(tier: Tier, bound: Tier): boolean {
  return tiers.indexOf(tier) >= tiers.indexOf(bound);
}
