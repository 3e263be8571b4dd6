import type { Trust } from '../store/inbox.ts';
import type { JobRecord, StepRecord } from '../store/jobs.ts';
import type { Line } from '../reply/parts.ts';
import type { Decision } from '../store/decisions.ts';
import type { Plan } from './plan.ts';
import type { Tier } from './tier.ts';

/** Who asked. The shell names no person. */
export type JobRequester = { kind: 'person'; person: string; userId: string } | { kind: 'shell' };

/** A run of a schedule: which, and how it came to run. Times in milliseconds. */
export interface ScheduleOrigin {
  kind: 'schedule';
  schedule: string;
  name: string;
  /** The time of the timetable, or of the asking for a run out of turn: with the schedule's id, what this run is known by. */
  dueAt: number;
  /** How much later than due it was begun, where that is worth telling; else 0. */
  late: number;
  /** How many runs before it were missed. */
  missed: number;
  /** Out of turn, because a person wanted it. */
  asked: boolean;
  /** Whether a job that a crash kept from starting is still run. */
  catchUp: boolean;
  /** The standing approval that it runs by. */
  standing?: StandingUse;
  /** Why the standing approval of the schedule does not cover it, and it waits for somebody. */
  beyond?: string;
}

/** By which standing approval a run needs nobody. Times in milliseconds since the epoch. */
export interface StandingUse {
  /** The job that was approved. */
  jobId: string;
  by: readonly string[];
  grantedAt: number;
  until: number;
}

/** Where the answer goes, and how the request came. */
export type JobOrigin =
  | { kind: 'room'; roomId: string; eventId: string; threadId: string | null; trust?: Trust; json?: boolean }
  | { kind: 'shell' }
  | ScheduleOrigin;

/** Why a job ended before it ran. */
export type Ending =
  /** Refused by a person, or taken back by the one who asked; the shell names none. */
  | { kind: 'vetoed'; person: string | null; userId: string | null }
  /** The person who asked may not ask for it any more. */
  | { kind: 'role-lost'; person: string }
  /** The same person asked for the same again. */
  | { kind: 'superseded' }
  /** What would change is not what was shown: lines that are gone, and lines that are new. */
  | { kind: 'plan-changed'; was: readonly Line[]; now: readonly Line[] }
  /** The standing approval that it was to run by does not cover it any more. */
  | { kind: 'standing-ended'; reason: string }
  /** It ran without an approval, by the shell's `--break-glass`. */
  | { kind: 'break-glass'; reason: string };

export interface Job extends Omit<JobRecord, 'plan' | 'tier' | 'requester' | 'origin' | 'inputs' | 'ending'> {
  plan: Plan;
  tier: Tier;
  requester: JobRequester;
  origin: JobOrigin;
  /** The checked arguments of each item of the plan. */
  inputs: readonly Record<string, unknown>[];
  ending: Ending | null;
}

export interface SettledJob extends Job {
  steps: readonly StepRecord[];
  /** What people said to it, oldest first, without what was taken back. */
  decisions: readonly Decision[];
}

/** The standing approval that a job runs by, or null. */
export function standingOf({ origin }: Pick<Job, 'origin'>): StandingUse | null {
  return origin.kind === 'schedule' ? (origin.standing ?? null) : null;
}

/** The JSON columns are written by workflow/ alone, from these very types. */
export function asJob(record: JobRecord): Job {
  return record as Job;
}
