import type { AlertId } from '../alerts/table.ts';

/** What is looked at, in the order in which it is shown. */
export const lineNames = [
  ...(['homeserver', 'token', 'admin', 'rate-limit', 'room', 'crypto'] as const),
  ...(['store', 'disk', 'clock', 'backups', 'engine', 'restores', 'heartbeat', 'channels'] as const),
] as const;
export type LineName = (typeof lineNames)[number];

/** What a look came to. `skipped`: it cannot be known now, because of something that another line tells. */
export interface Finding {
  state: 'ok' | 'warn' | 'fail' | 'skipped';
  /** What was seen, without a full stop. Holds no secret. */
  detail: string;
  /** The command or question that mends it, with commands in backticks; null where nothing is wrong. */
  fix: string | null;
  /** The alert that a warning is; others are only shown. */
  alert?: AlertId;
}

export interface Line extends Finding {
  name: LineName;
}

export const ok = (detail: string): Finding => ({ state: 'ok', detail, fix: null });
export const warn = (detail: string, fix: string): Finding => ({ state: 'warn', detail, fix });
export const fail = (detail: string, fix: string): Finding => ({ state: 'fail', detail, fix });
export const skipped = (detail: string): Finding => ({ state: 'skipped', detail, fix: null });
