import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Line } from '../reply/parts.ts';
import type { Tier } from './tier.ts';

/** A thing a plan acts on, as it was resolved: its id, and the name it had. */
export interface Target {
  id: string;
  name?: string | null;
}

/** What one command will do to one target. Made by reading only; JSON throughout, so that it can be frozen. */
export interface PlanItem<Data = unknown> {
  targets: readonly Target[];
  /** What will change, a line each. */
  changes: readonly Line[];
  /** What cannot be undone, or is lost, a line each. */
  permanent?: readonly Line[];
  /** Raises the declared tier, with the reason; never lowers it. */
  raise?: { tier: Tier; reason: string };
  /** The person of `people:` whose account it could give control of: not to approve it, and out of approving once it has run. */
  controls?: string;
  /** The command line that takes it back, without a prefix. */
  undo?: string;
  /** What `run` needs; no secret. */
  data: Data;
}

/** A command frozen for running: one item, or several for bulk input. */
export interface Plan {
  command: string;
  tier: Tier;
  /** Why the tier is higher than declared. */
  reasons: readonly string[];
  items: readonly PlanItem[];
}

/** SHA-256 in hex over the canonical JSON (RFC 8785) of the plan. */
export function planHash(plan: Plan): string {
  const json = canonicalize(plan);
  if (json === undefined) throw new TypeError('a plan must be JSON');
  return createHash('sha256').update(json).digest('hex');
}
