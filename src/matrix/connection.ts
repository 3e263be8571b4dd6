import type { Clock, Ids } from '../clock.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import type { Log } from '../telemetry/log.ts';
import { Backoff } from './backoff.ts';
import { MatrixRequestError, type MatrixClient } from './client.ts';
import type { InstanceMarker } from './instance-marker.ts';
import type { Batch, Intake } from './intake.ts';
import type { SyncAnswer } from './sync-types.ts';

export interface ConnectionOptions {
  client: () => MatrixClient;
  intake: Intake;
  /** Which copy of the store acts. */
  instance: Pick<InstanceMarker, 'check' | 'hear'>;
  clock: Clock;
  ids: Ids;
  log: Log;
  roomId: string;
  userId: string;
  /** The device that the configuration names, or null. */
  deviceId: string | null;
  /** The device whose keys are in the store, or null as long as there is none. */
  storedDevice: () => string | null;
  /** The room has an `m.room.encryption`: that is kept before anything is said in it. */
  encrypted: (content: Record<string, unknown>) => void;
  /** Called for each batch, after it is in the store. */
  received: (batch: Batch) => void;
  /** The first batch is in: Steward is ready. */
  ready: () => void;
  /** It is degraded, for another reason than before. */
  degraded: (failure: Failure) => void;
}

const longPoll = 30_000;
/** Milliseconds between looks at whether a dead token has been replaced. */
const tokenRetry = 30_000;

/** Keeps Steward connected: checks, then sync after sync. What fails degrades it and is tried again; nothing ends it but `stop`. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #stop = new AbortController();
  #wake = new AbortController();
  #degraded: Failure | null = null;
  #lastSync: number | null = null;
  #isCurrent = false;
  #wasCurrent = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** Why nothing is heard from the room now, or null. */
  get degraded(): Failure | null {
    return this.#degraded;
  }

  /** Whether what is known of the room is of now: a sync has been taken, and none has failed since. */
  get isCurrent(): boolean {
    return this.#isCurrent;
  }

  /** Whether a sync has been taken in this run: token and device are those of the store. */
  get wasCurrent(): boolean {
    return this.#wasCurrent;
  }

  /** Milliseconds since the last answered sync, or null. */
  get syncAge(): number | null {
    return this.#lastSync === null ? null : this.#options.clock.monotonic() - this.#lastSync;
  }

  /** Tries again at once: the token or the configuration may be another now. */
  retry(): void {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  stop(): void {
    this.#stop.abort();
    this.#wake.abort();
  }

  /** Runs until `stop`. */
  async run(): Promise<void> {
    const { clock, ids, ready } = this.#options;
    const backoff = new Backoff(ids);
    let checked = false;
    let first = true;
    while (!this.#stop.signal.aborted) {
      try {
        const answer = checked ? await this.#listen() : await this.#connect();
        checked = true;
        await this.#take(answer);
        this.#recovered();
        backoff.reset();
        if (first) ready();
        first = false;
      } catch (error) {
        checked = false;
        this.#isCurrent = false;
        this.#degrade(error);
        const failure = this.#degraded;
        await clock.sleep(failure?.retry === false ? tokenRetry : backoff.next(error), this.#wake.signal);
      }
    }
  }

  async #check(): Promise<void> {
    const { client, encrypted, instance, roomId, userId, deviceId, storedDevice } = this.#options;
    const who = await client().whoami();
    const attempted = 'connect to the homeserver';
    if (who.user_id !== userId)
      throw new Failure('homeserver.refused', {
        attempted,
        reason: `the access token is of ${who.user_id}, not of ${userId}`,
        hint: 'Does `homeserver.access_token_file` hold the right token?',
      });
    if (deviceId !== null && who.device_id !== deviceId)
      throw new Failure('homeserver.refused', {
        attempted,
        reason: `the access token is of the device ${who.device_id ?? 'none'}, not of ${deviceId}`,
        hint: 'Set `homeserver.device_id` to the device of the token, or run `steward init`.',
      });
    const stored = storedDevice();
    if (stored !== null && who.device_id !== stored)
      throw new Failure('crypto.other-device', {
        attempted,
        reason: `the access token is of the device ${who.device_id ?? 'none'}, and the keys in the store are of ${stored}`,
      });
    await instance.check();
    await client().join(roomId);
    // A state that a filtered first sync would not bring again.
    const encryption = await client().state(roomId, 'm.room.encryption');
    if (encryption !== null) encrypted(encryption);
  }

  /** The checks and a first sync. They ask nothing of each other, but for the very first: what was said before Steward joined is history. */
  async #connect(): Promise<SyncAnswer> {
    const checks = this.#check();
    if (this.#options.intake.token === null) await checks;
    const [answer] = await Promise.all([this.#ask(0), checks]);
    return answer;
  }

  async #listen(): Promise<SyncAnswer> {
    const { roomId } = this.#options;
    const answer = await this.#ask(longPoll);
    if (answer.rooms?.leave?.[roomId] === undefined) return answer;
    throw new Failure('homeserver.refused', {
      attempted: `hear from ${roomId}`,
      reason: 'Steward is no longer in the room',
      hint: 'Invite it again.',
    });
  }

  async #ask(timeout: number): Promise<SyncAnswer> {
    const { client, ids, intake } = this.#options;
    // Synapse answers a first sync that it was asked before with what it said then, for two minutes: what was said since would come as new.
    const first = intake.token === null ? 1 + Math.floor(ids.fraction() * longPoll) : null;
    return client().sync(intake.token, first ?? timeout);
  }

  async #take(answer: SyncAnswer): Promise<void> {
    const { intake, instance, clock, received } = this.#options;
    if (this.#stop.signal.aborted) return;
    instance.hear(answer);
    const batch = await intake.take(answer);
    this.#lastSync = clock.monotonic();
    this.#isCurrent = true;
    this.#wasCurrent = true;
    received(batch);
  }

  #degrade(error: unknown): void {
    const failure = failureOf(error);
    const isNew = this.#degraded?.id !== failure.id;
    this.#degraded = failure;
    // Whoever is not the one that acts says nothing either.
    if (failure.id === 'store.superseded') this.#wasCurrent = false;
    if (!isNew) return;
    this.#options.log.error('degraded', { error: failure });
    this.#options.degraded(failure);
  }

  #recovered(): void {
    if (this.#degraded !== null) this.#options.log.info('connected again');
    this.#degraded = null;
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof MatrixRequestError)) return asFailure(error);
  const attempted = 'hear from the admin room';
  if (error.isUnknownToken) return new Failure('homeserver.unknown-token', { attempted, cause: error });
  if (error.status === 429) return new Failure('homeserver.rate-limited', { attempted, cause: error });
  if (error.isTemporary) return new Failure('homeserver.unreachable', { attempted, cause: error });
  return new Failure('homeserver.refused', { attempted, reason: `the homeserver says ${error.errcode ?? 'no'}`, cause: error });
}
