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
  /** What it would come to as the world is now, a line each: shown to who decides, and no part of what is frozen. */
  preview?: readonly Line[];
  /** How many things it changes, where that is not the number of its targets. */
  objects?: number;
  /** Group of another command that it lets run: who approves it must be allowed to approve that one. */
  grants?: string;
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

/** How many things a plan changes: what the bounds of a standing approval count. */
export function objectsOf(plan: Plan): number {
  return plan.items.reduce((sum, { objects, targets }) => sum + (objects ?? targets.length), 0);
}

/** SHA-256 in hex over the canonical JSON (RFC 8785) of the plan without its previews. */
export function planHash(plan: Plan): string {
  const json = canonicalize({ ...plan, items: plan.items.map((item) => ({ ...item, preview: undefined })) });
  if (json === undefined) throw new TypeError('a plan must be JSON');
  return createHash('sha256').update(json).digest('hex');
}
