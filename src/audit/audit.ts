import type { Trust } from '../store/inbox.ts';
import type { Tier } from '../workflow/tier.ts';

/** Who did it, as a record names them. */
export type AuditActor =
  | { kind: 'person'; person: string; userId: string; trust: Trust }
  /** Somebody in a room whom the configuration does not name. */
  | { kind: 'stranger'; userId: string; trust: Trust }
  | { kind: 'shell' }
  /** A run of a schedule, as the person who made it; null where that was the shell. */
  | { kind: 'schedule'; schedule: string; person: string | null }
  | { kind: 'steward' };

export const steward: AuditActor = { kind: 'steward' };

/** What happened; the part before the dot is its family. */
export type AuditEvent =
  | 'steward.started'
  | 'steward.stopped'
  | 'access.stranger'
  | 'access.refused'
  /** In an encrypted room: plain, undecryptable, or from a device that is not signed. */
  | 'access.locked'
  | 'identity.changed'
  /** Steward's own device was replaced on its host, and perhaps its identity. */
  | 'device.reset'
  /** How often a person read what, in the time since the last such record. */
  | 'access.reads'
  | 'secret.removed'
  | 'secret.not-removed'
  | 'secret.handed-over'
  | 'secret.not-handed-over'
  | 'config.reloaded'
  /** Reads only from here on, and why; and the owner who has ended it. */
  | 'room.locked'
  | 'room.unlocked'
  | 'room.moved'
  /** The person may not run it any more. */
  | 'schedule.stopped'
  /** A run that was due did not begin: held by a guard, or because the one before was going or Steward was down. */
  | 'schedule.passed-over'
  /** Leave for the runs of a schedule within bounds: given with it, used by a run, not enough for one, ended. */
  | 'standing.granted'
  | 'standing.used'
  | 'standing.exceeded'
  | 'standing.ended'
  /** The store was older than a file of the audit, as after it was restored: the file was set aside. */
  | 'audit.forked'
  /** What a stop had cut off was taken back or finished. */
  | 'restore.recovered'
  | 'job.requested'
  /** One person of several that are needed. */
  | 'job.counted'
  | 'job.approved'
  /** An approval was taken back before the run. */
  | 'job.withdrawn'
  | 'job.vetoed'
  | 'job.expired'
  | 'job.superseded'
  | 'job.plan-changed'
  | 'job.started'
  | 'job.step'
  | 'job.done'
  | 'job.failed'
  | 'job.unknown'
  | 'job.cancelled';

/** One record: ids, names of things and counts; never what a person typed, and no secret. */
export interface AuditEntry {
  event: AuditEvent;
  actor: AuditActor;
  /** Full name of the command. */
  command?: string | undefined;
  tier?: Tier | undefined;
  jobId?: string | undefined;
  planHash?: string | undefined;
  /** Ids of what it acts on. */
  targets?: readonly string[] | undefined;
  /** The Matrix event that caused it. */
  eventId?: string | undefined;
  /** Id of the failure table. */
  failure?: string | undefined;
  /** Milliseconds. */
  duration?: number | undefined;
  /** What else is told, by names in snake_case. */
  detail?: Readonly<Record<string, string | number | boolean | null>> | undefined;
}

/**
 * Writes down who did what. `record` is called inside the store's transaction that changes what the record tells of, so
 * that neither is there without the other; it throws `audit.unwritable` where the record cannot be kept, which undoes both.
 */
export interface Audit {
  record(entry: AuditEntry): void;
}
