import type { AuditLog } from '../audit/log.ts';
import type { AlertChannel } from '../alerts/channel.ts';
import type { Backups } from '../backup/backups.ts';
import type { BackupReports } from '../backup/reports.ts';
import type { Restores } from '../backup/restores.ts';
import type { Unlocks } from '../backup/unlocks.ts';
import type { Clock, Ids } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { Secret } from '../config/secret.ts';
import type { Doctor } from '../doctor/doctor.ts';
import type { Synapse } from '../homeserver/synapse/synapse.ts';
import type { RoomGuard } from '../room/guard.ts';
import type { Expectation } from '../room/inspection.ts';
import type { LockDown } from '../room/lock-down.ts';
import type { Stack } from '../stack/stack.ts';
import type { Ladder } from '../secrets/ladder.ts';
import type { SecretSink } from '../secrets/sink.ts';
import type { DeviceStatus } from '../store/device.ts';
import type { AgeRecipients } from '../store/age-recipients.ts';
import type { Trust } from '../store/inbox.ts';
import type { Log } from '../telemetry/log.ts';
import type { IdentityPins } from '../store/identity-pins.ts';
import type { Approvals } from '../workflow/approvals.ts';
import type { Freeze } from '../workflow/freeze.ts';
import type { Job, JobRequester } from '../workflow/job.ts';
import type { Jobs } from '../workflow/jobs.ts';
import type { Schedules } from '../workflow/schedule/schedules.ts';
import type { StandingApprovals } from '../workflow/standing.ts';
import type { Registry } from './registry.ts';

/** Who asks. */
export type Requester = JobRequester;

/** What `server status` tells of Steward itself. */
export interface SelfStatus {
  version: string;
  /** Milliseconds since the epoch. */
  startedAt: number;
  /** Milliseconds since the last answered sync, or null when there was none. */
  syncAge: number | null;
  /** Why it is degraded, or null. */
  degraded: string | null;
  outboxPending: number;
}

/** How a command came from a room. */
export interface Message {
  eventId: string;
  trust: Trust;
  /** Whether it was sent while Steward was not connected. */
  caughtUp: boolean;
}

/** What a command may use. It knows nothing of where it was typed, but for who asked. */
export interface CommandContext {
  requester: Requester;
  config: Config;
  /** Throws `config.no-homeserver` where none is configured. */
  readonly homeserver: Synapse;
  /** Throws `stack.not-configured` where none is configured. */
  readonly stack: Stack;
  doctor: Doctor;
  guard: RoomGuard;
  lockDown: LockDown;
  /** What the admin room should be. */
  expectedRoom(): Expectation;
  /** Steward works in that room from now on. */
  moveRoom(to: string, by: string): void;
  /** The alert channels that the configuration names. */
  channels(): readonly AlertChannel[];
  /** Throws `backup.not-configured` where no destination is. */
  readonly backups: Backups;
  backupReports: BackupReports;
  /** Throws `stack.not-configured`, `backup.not-configured` when it is used where these are not. */
  restores: Restores;
  unlocks: Unlocks;
  /** Tells those who wait for a long job what it does now, in words. */
  progress: (words: string) => void;
  /** Aborts when Steward begins to stop, for a run that only waits: it throws the reason, and the next start goes on with it. */
  leaving: AbortSignal;
  /** Waits for people, in a run of a command that is declared `again`: other jobs have their turn meanwhile. */
  aside: <T>(wait: () => Promise<T>) => Promise<T>;
  registry: Registry;
  sink: SecretSink;
  freeze: Freeze;
  readonly jobs: Pick<Jobs, 'get' | 'steps' | 'newest' | 'cancel' | 'isCancelled' | 'isCancelledMeanwhile'>;
  schedules: Schedules;
  standing: StandingApprovals;
  /** How a new password reaches the person who asks. */
  ladder: Ladder;
  recipients: AgeRecipients;
  clock: Clock;
  ids: Ids;
  log: Log;
  /** The records of who did what. */
  audit: AuditLog;
  signal: AbortSignal;
  /** Values of secret arguments, by argument name; only the shell can give any. */
  secrets: ReadonlyMap<string, Secret>;
  self(): SelfStatus;
  /** Cross-signing identities, as they were first seen. */
  identities: IdentityPins;
  /** The device of the running daemon; null where nothing is encrypted, or no daemon runs. Throws Failures `crypto.*`. */
  device(): Promise<DeviceStatus | null>;
  approvals: Approvals;
  /** The room that Steward works in, connected or not; null where none is configured. */
  readonly adminRoomId: string | null;
  /** Where people can be asked now; null where no room is connected. */
  readonly room: { encrypted: boolean } | null;
  /** The message that asks; null in the shell. */
  message: Message | null;
  /** The requester's last done job that can be undone and was not, or null. */
  lastUndoable(): Job | null;
  /** Reads the configuration file again. Throws `config.invalid`; the old one stays then. */
  reloadConfig(): { changed: readonly string[]; needsRestart: readonly string[] };
}
