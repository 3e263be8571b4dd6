import type { Trust } from '../store/inbox.ts';
import type { AuditActor, AuditEntry } from './audit.ts';

/** A record as it is written: the canonical JSON of this, names in snake_case. */
export interface AuditRecord {
  seq: number;
  /** ISO 8601, UTC. */
  at: string;
  event: string;
  actor: Record<string, unknown>;
  /** Of Steward. */
  version: string;
  command?: string;
  tier?: string;
  job_id?: string;
  plan_hash?: string;
  targets?: readonly string[];
  event_id?: string;
  failure?: string;
  duration_ms?: number;
  detail?: Readonly<Record<string, string | number | boolean | null>>;
}

/** @param at milliseconds since the epoch */
export function recordOf(entry: AuditEntry, seq: number, at: number, version: string): AuditRecord {
  return {
    seq,
    at: new Date(at).toISOString(),
    event: entry.event,
    actor: actorOf(entry.actor),
    version,
    ...(entry.command === undefined ? {} : { command: entry.command }),
    ...(entry.tier === undefined ? {} : { tier: entry.tier }),
    ...(entry.jobId === undefined ? {} : { job_id: entry.jobId }),
    ...(entry.planHash === undefined ? {} : { plan_hash: entry.planHash }),
    ...(entry.targets === undefined ? {} : { targets: entry.targets }),
    ...(entry.eventId === undefined ? {} : { event_id: entry.eventId }),
    ...(entry.failure === undefined ? {} : { failure: entry.failure }),
    ...(entry.duration === undefined ? {} : { duration_ms: Math.max(0, Math.round(entry.duration)) }),
    ...(entry.detail === undefined ? {} : { detail: entry.detail }),
  };
}

function actorOf(actor: AuditActor): Record<string, unknown> {
  if (actor.kind === 'person') return { kind: 'person', person: actor.person, user_id: actor.userId, trust: trustOf(actor.trust) };
  if (actor.kind === 'stranger') return { kind: 'stranger', user_id: actor.userId, trust: trustOf(actor.trust) };
  return { ...actor };
}

function trustOf(trust: Trust): Record<string, unknown> {
  return trust.kind === 'plain'
    ? { kind: 'plain' }
    : { kind: 'decrypted', device_id: trust.deviceId, cross_signed: trust.crossSigned, identity: trust.identity };
}

/** The name that a record is found by: of a person, or the user id of a stranger; else null. */
export function personOf(actor: AuditActor): string | null {
  if (actor.kind === 'stranger') return actor.userId;
  return actor.kind === 'person' || actor.kind === 'schedule' ? actor.person : null;
}
