import { Failure } from '../../failures/failure.ts';
import type { Clock } from '../../clock.ts';
import type { DeviceStatus, DeviceStore } from '../../store/device.ts';
import type { EncryptedRooms } from '../../store/encrypted-rooms.ts';
import type { IdentityPins } from '../../store/identity-pins.ts';
import type { Store } from '../../store/store.ts';
import type { Log } from '../../telemetry/log.ts';
import type { RecoveryStore } from '../../secrets/recovery.ts';
import type { MatrixClient } from '../client.ts';
import type { RoomEvent, SyncAnswer } from '../sync-types.ts';
import type { Device } from './device.ts';
import { fromRecovery, recoveryState, toRecovery } from './recovery.ts';

export interface EncryptionOptions {
  client: () => MatrixClient;
  store: Store;
  devices: DeviceStore;
  rooms: EncryptedRooms;
  pins: IdentityPins;
  recovery: RecoveryStore;
  clock: Clock;
  log: Log;
  userId: string;
}

/**
 * Everything encrypted, in any room. The crypto library is loaded only when there is an encrypted room, and each call into
 * it passes one queue: what it has changed is read out only when nothing runs.
 */
export class Encryption {
  readonly #options: EncryptionOptions;
  #opening: Promise<Device> | null = null;
  #device: Device | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  readonly #members = new Map<string, Promise<readonly string[]>>();

  constructor(options: EncryptionOptions) {
    this.#options = options;
  }

  /** Whether anything is encrypted here; else the crypto library is never loaded. */
  get isNeeded(): boolean {
    return this.#options.rooms.any;
  }

  isEncrypted(roomId: string): boolean {
    return this.#options.rooms.has(roomId);
  }

  /** The device of the store, or null as long as there is none. */
  get deviceId(): string | null {
    return this.#options.devices.about()?.deviceId ?? null;
  }

  /** What there is to tell of this device. Throws as `exclusive` does. */
  async status(): Promise<DeviceStatus> {
    const { devices, pins, recovery, userId } = this.#options;
    const identity = pins.get(userId)?.identity ?? null;
    return this.exclusive(async (device) => ({
      deviceId: device.deviceId,
      fingerprint: device.fingerprint,
      signed: await device.isSigned(),
      identity,
      hasIdentityKeys: await device.hasIdentity(),
      recovery: { state: await recoveryState(recovery, identity), name: recovery.name },
      sessions: await device.sessionCount(),
      bytes: devices.about()?.bytes ?? 0,
    }));
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#tail;
  }

  /** Notes a room's `m.room.encryption`, inside the caller's transaction. */
  note(roomId: string, content: Record<string, unknown>): void {
    const number = (name: string, most: number): number | null => {
      const value = content[name];
      return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value <= most ? value : null;
    };
    const week = 7 * 24 * 3600 * 1000;
    const rotation = { period: number('rotation_period_ms', week), messages: number('rotation_period_msgs', 10_000) };
    this.#options.rooms.add(roomId, rotation, this.#options.clock.now());
  }

  /** Loads the crypto library where it will be needed, so that the first event does not wait for it. */
  warm(): void {
    if (!this.isNeeded) return;
    void this.exclusive(() => Promise.resolve()).catch((error: unknown) => {
      this.#options.log.warn('the keys of this device are not open yet', { error });
    });
  }

  /**
   * Runs `work` alone with the device, opening it when it is not open yet.
   *
   * @throws Failure `crypto.unreadable`, `crypto.no-device`, `crypto.no-recovery`, `crypto.wrong-recovery`; MatrixRequestError
   */
  async exclusive<T>(work: (device: Device) => Promise<T>): Promise<T> {
    const turn = this.#tail.then(async () => work(await this.#open()));
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  /** Sends what the machine wants to send, when nothing waits for it. */
  drain(): void {
    void this.exclusive((device) => device.drain()).catch((error: unknown) => {
      this.#options.log.warn('keys could not be sent yet', { error });
    });
  }

  /** The memberships of rooms that a sync tells of are asked for anew. */
  forgetMembers(answer: SyncAnswer): void {
    for (const [roomId, { timeline }] of Object.entries(answer.rooms?.join ?? {})) {
      const changes = (event: RoomEvent): boolean => event.type === 'm.room.member' || event.type === 'm.room.history_visibility';
      if (timeline?.limited === true || (timeline?.events ?? []).some(changes)) this.#members.delete(roomId);
    }
  }

  /**
   * Encrypts a message for the members of a room. `keep` is called in the transaction that keeps the session it was
   * encrypted with: what it writes may be sent any number of times.
   */
  async encrypt(
    roomId: string,
    type: string,
    content: Record<string, unknown>,
    keep: (encrypted: Record<string, unknown>) => void,
  ): Promise<Record<string, unknown>> {
    return this.exclusive(async (device) => {
      const encrypted = await device.encrypt(roomId, await this.#membersOf(roomId), this.#options.rooms.rotation(roomId), type, content);
      await device.commit(() => {
        keep(encrypted);
      });
      return encrypted;
    });
  }

  async #membersOf(roomId: string): Promise<readonly string[]> {
    const known = this.#members.get(roomId);
    if (known !== undefined) return known;
    const asked = this.#askMembers(roomId);
    this.#members.set(roomId, asked);
    asked.catch(() => this.#members.delete(roomId));
    return asked;
  }

  /** Whoever may read what is sent now: those who are invited as well, unless history begins with joining. */
  async #askMembers(roomId: string): Promise<readonly string[]> {
    const client = this.#options.client();
    const [{ joined, invited }, visibility] = await Promise.all([
      client.members(roomId),
      client.state(roomId, 'm.room.history_visibility'),
    ]);
    return visibility?.['history_visibility'] === 'joined' ? joined : [...joined, ...invited];
  }

  async #open(): Promise<Device> {
    if (this.#device !== null) return this.#device;
    this.#opening ??= this.#start().finally(() => {
      this.#opening = null;
    });
    this.#device = await this.#opening;
    return this.#device;
  }

  async #start(): Promise<Device> {
    const { client, clock, devices, log, store, userId } = this.#options;
    const attempted = 'open the keys of this device';
    const kept = devices.get();
    if (kept !== null && kept.snapshot === null) throw new Failure('crypto.unreadable', { attempted });
    const deviceId = kept?.deviceId ?? (await client().whoami()).device_id;
    if (deviceId === undefined) throw new Failure('crypto.no-device', { attempted });
    const keep = <T>(snapshot: Uint8Array, more: () => T): T =>
      store.transaction(() => {
        devices.put(userId, deviceId, snapshot, clock.now());
        return more();
      });
    const { Device } = await import('./device.ts');
    const device = await Device.open({ userId, deviceId, snapshot: kept?.snapshot ?? null, client, keep }).catch((error: unknown) => {
      throw new Failure('crypto.unreadable', { attempted, cause: error });
    });
    if (this.#options.pins.get(userId) === null) await this.#makeIdentity(device);
    log.info('this device', { device_id: deviceId, fingerprint: device.fingerprint });
    return device;
  }

  /** The first start of a device: the identity of the recovery material, or a new one where the account has none. */
  async #makeIdentity(device: Device): Promise<void> {
    const { clock, pins, recovery, userId } = this.#options;
    await device.know([userId]);
    await device.look(userId);
    const published = await device.identityOf(userId);
    const isOwn = await device.hasIdentity();
    const material = isOwn || published === null ? null : await recovery.read();
    if (published !== null && material === null && !isOwn)
      throw new Failure('crypto.no-recovery', {
        attempted: 'sign this device',
        reason: `${userId} has an identity, and ${recovery.name} is not there`,
      });
    if (material !== null) await device.adopt(fromRecovery(material));
    // Also what an earlier run has begun: the identity that is here is published, none is made twice.
    else await device.bootstrap((keys) => recovery.keep(toRecovery(keys)));
    const identity = await device.identityOf(userId);
    if (identity === null || !(await device.isSigned()))
      throw new Failure('homeserver.not-done', { attempted: 'sign this device', reason: 'the homeserver does not show the signature' });
    pins.pin(userId, identity, clock.now());
  }
}
