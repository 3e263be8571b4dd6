import {
  CollectStrategy,
  DecryptionErrorCode,
  DecryptionSettings,
  DeviceId,
  DeviceLists,
  EncryptionSettings,
  initAsync,
  MegolmDecryptionError,
  OlmMachine,
  RequestType,
  RoomId,
  TrustRequirement,
  UserId,
  type SignatureUploadRequest,
} from '@matrix-org/matrix-sdk-crypto-wasm';
import { deserialize, serialize } from 'node:v8';
import { Failure } from '../../failures/failure.ts';
import type { Rotation } from '../../store/encrypted-rooms.ts';
import type { KeysEndpoint, MatrixClient } from '../client.ts';
import { sessionOf, type RoomEvent, type SyncAnswer } from '../sync-types.ts';
import { readAll, writeAll, type StoredDatabase } from './indexed-db.ts';
import { SessionPruner } from './sessions.ts';

/** What came out of an encrypted event. */
export type Decryption =
  | {
      kind: 'decrypted';
      type: string;
      content: Record<string, unknown>;
      deviceId: string;
      /** The device's own key: Ed25519, unpadded base64; null when the device is not known. */
      deviceKey: string | null;
      crossSigned: boolean;
      /** The sender's master cross-signing key, or null without one. */
      identity: string | null;
    }
  /** The key has not come (yet). */
  | { kind: 'missing-key'; sessionId: string }
  | { kind: 'undecryptable'; sessionId: string };

/** The three private cross-signing keys, unpadded base64. */
export interface CrossSigningKeys {
  master: string;
  selfSigning: string;
  userSigning: string;
}

export interface DeviceOptions {
  userId: string;
  deviceId: string;
  snapshot: Uint8Array | null;
  client: () => MatrixClient;
  /** Writes a snapshot, and whatever else belongs to it, in one transaction. */
  keep: <T>(snapshot: Uint8Array, more: () => T) => T;
}

/** The requests of the machine that are posted as they are. */
const endpoints: Partial<Record<RequestType, KeysEndpoint>> = {
  [RequestType.KeysUpload]: 'upload',
  [RequestType.KeysQuery]: 'query',
  [RequestType.KeysClaim]: 'claim',
  [RequestType.SignatureUpload]: 'signatures/upload',
};

interface MachineRequest {
  type: RequestType;
  body: string;
  id?: string | undefined;
}

const storeName = 'steward';

/** What a snapshot holds: all of the machine's store, and the order in which sessions came. */
interface Snapshot {
  databases: StoredDatabase[];
  sessions: string[];
}

/**
 * One device with its keys and sessions: the OlmMachine, driven one call at a time. What it has changed is kept, as a
 * snapshot of its whole store, before anything that follows from it leaves this process.
 */
export class Device {
  readonly #options: DeviceOptions;
  readonly #machine: OlmMachine;
  readonly #sessions: SessionPruner;
  /** Accounts whose keys have been asked for since `takeAsked`. */
  #asked = new Set<string>();

  private constructor(options: DeviceOptions, machine: OlmMachine, sessions: readonly string[]) {
    this.#options = options;
    this.#machine = machine;
    this.#sessions = new SessionPruner(`${storeName}::matrix-sdk-crypto`, machine.identityKeys.curve25519.toBase64(), sessions);
  }

  /** @throws Error when the snapshot is not one */
  static async open(options: DeviceOptions): Promise<Device> {
    const kept = options.snapshot === null ? null : (deserialize(options.snapshot) as Snapshot);
    if (kept !== null) await writeAll(kept.databases);
    await initAsync();
    const machine = await OlmMachine.initialize(new UserId(options.userId), new DeviceId(options.deviceId), storeName);
    // Nobody else has the keys of this account, and none are given away.
    machine.roomKeyRequestsEnabled = false;
    machine.roomKeyForwardingEnabled = false;
    return new Device(options, machine, kept?.sessions ?? []);
  }

  get deviceId(): string {
    return this.#options.deviceId;
  }

  /** The device's own key: Ed25519, unpadded base64. */
  get fingerprint(): string {
    return this.#machine.identityKeys.ed25519.toBase64();
  }

  /** Whether the private cross-signing keys are here. */
  async hasIdentity(): Promise<boolean> {
    const status = await this.#machine.crossSigningStatus();
    return status.hasMaster && status.hasSelfSigning && status.hasUserSigning;
  }

  /** Takes in what a sync brought for this device. @returns the sessions whose keys have come */
  async receive(answer: SyncAnswer): Promise<{ roomId: string; sessionId: string }[]> {
    const users = (ids: readonly string[] | undefined): UserId[] => (ids ?? []).map((id) => new UserId(id));
    const processed = await this.#machine.receiveSyncChanges(
      JSON.stringify(answer.to_device?.events ?? []),
      new DeviceLists(users(answer.device_lists?.changed), users(answer.device_lists?.left)),
      new Map(Object.entries(answer.device_one_time_keys_count ?? {})),
      answer.device_unused_fallback_key_types === undefined ? undefined : new Set(answer.device_unused_fallback_key_types),
      new DecryptionSettings(TrustRequirement.Untrusted),
    );
    return processed.flatMap(({ rawEvent }) => {
      const { type, content } = JSON.parse(rawEvent) as { type?: string; content?: { room_id?: unknown; session_id?: unknown } };
      return type === 'm.room_key' && typeof content?.room_id === 'string' && typeof content.session_id === 'string'
        ? [{ roomId: content.room_id, sessionId: content.session_id }]
        : [];
    });
  }

  /** Asks for the keys of accounts that are not known, or have changed. */
  async know(userIds: readonly string[]): Promise<void> {
    if (userIds.length > 0) await this.#machine.updateTrackedUsers(userIds.map((id) => new UserId(id)));
    for (const request of await this.#machine.outgoingRequests()) if (request.type === RequestType.KeysQuery) await this.#send(request);
  }

  /** Asks for the keys of one account, whether or not they are said to have changed. */
  async look(userId: string): Promise<void> {
    await this.#send(this.#machine.queryKeysForUsers([new UserId(userId)]));
  }

  /** The accounts whose keys have been asked for since the last call. */
  takeAsked(): Set<string> {
    const asked = this.#asked;
    this.#asked = new Set();
    return asked;
  }

  /** How many devices of an account its own identity has signed, by what the homeserver shows now. */
  async signedDevices(userId: string): Promise<number> {
    await this.know([userId]);
    await this.look(userId);
    const known = await this.#machine.getUserDevices(new UserId(userId));
    return known.devices().filter((device) => device.isCrossSignedByOwner()).length;
  }

  /** Sends everything that the machine wants to send. */
  async drain(): Promise<void> {
    for (const request of await this.#machine.outgoingRequests()) await this.#send(request);
    // Sessions that have broken are made anew.
    const claim = await this.#machine.getMissingSessions([]);
    if (claim != null) await this.#send(claim);
  }

  /** Decrypts a room event. Its sender must be known. */
  async decrypt(roomId: string, event: RoomEvent): Promise<Decryption> {
    const sessionId = sessionOf(event);
    const raw = JSON.stringify({ ...event, room_id: roomId });
    const attempt = (requirement: TrustRequirement) =>
      this.#machine.decryptRoomEvent(raw, new RoomId(roomId), new DecryptionSettings(requirement));
    const untrusted: readonly DecryptionErrorCode[] = [
      DecryptionErrorCode.UnknownSenderDevice,
      DecryptionErrorCode.UnsignedSenderDevice,
      DecryptionErrorCode.SenderIdentityVerificationViolation,
    ];
    let crossSigned = true;
    try {
      const decrypted = await attempt(TrustRequirement.CrossSigned).catch(async (error: unknown) => {
        if (!(error instanceof MegolmDecryptionError) || !untrusted.includes(error.code)) throw error;
        crossSigned = false;
        return attempt(TrustRequirement.Untrusted);
      });
      const { type, content } = JSON.parse(decrypted.event) as { type: string; content: Record<string, unknown> };
      const deviceId = decrypted.senderDevice?.toString() ?? '';
      const deviceKey = decrypted.senderClaimedEd25519Key ?? null;
      return { kind: 'decrypted', type, content, deviceId, deviceKey, crossSigned, identity: await this.identityOf(event.sender) };
    } catch (error) {
      if (!(error instanceof MegolmDecryptionError)) throw error;
      const isMissing = error.code === DecryptionErrorCode.MissingRoomKey || error.code === DecryptionErrorCode.UnknownMessageIndex;
      return { kind: isMissing ? 'missing-key' : 'undecryptable', sessionId };
    }
  }

  /**
   * Encrypts for the cross-signed devices of these accounts, which have the key when this resolves. The caller keeps what
   * it gets together with a snapshot, and only then sends it.
   */
  async encrypt(
    roomId: string,
    userIds: readonly string[],
    rotation: Rotation,
    type: string,
    content: Record<string, unknown>,
  ): Promise<Record<string, unknown>> {
    const users = (): UserId[] => userIds.map((id) => new UserId(id));
    // Their keys come before the sessions: the machine waits for them otherwise.
    await this.know(userIds);
    const claim = await this.#machine.getMissingSessions(users());
    if (claim != null) await this.#send(claim);
    const settings = new EncryptionSettings();
    settings.sharingStrategy = CollectStrategy.identityBasedStrategy();
    if (rotation.period !== null) settings.rotationPeriod = BigInt(rotation.period) * 1000n;
    if (rotation.messages !== null) settings.rotationPeriodMessages = BigInt(rotation.messages);
    for (const request of await this.#machine.shareRoomKey(new RoomId(roomId), users(), settings)) await this.#send(request);
    return JSON.parse(await this.#machine.encryptRoomEvent(new RoomId(roomId), type, JSON.stringify(content))) as Record<string, unknown>;
  }

  /** Keeps all there is, with whatever `more` writes, in one transaction. */
  async commit(): Promise<void>;
  async commit<T>(more: () => T): Promise<T>;
  async commit<T>(more?: () => T): Promise<T | undefined> {
    await this.#sessions.prune();
    const snapshot: Snapshot = { databases: await readAll(), sessions: this.#sessions.order };
    return this.#options.keep(serialize(snapshot), () => more?.());
  }

  /** The master cross-signing key of an account, or null when it has none or is not known. */
  async identityOf(userId: string): Promise<string | null> {
    const identity = await this.#machine.getIdentity(new UserId(userId));
    if (identity === undefined) return null;
    const { keys } = JSON.parse(identity.masterKey) as { keys: Record<string, string> };
    return Object.values(keys)[0] ?? null;
  }

  /** Whether this device is signed by the account's identity, as the homeserver shows it. */
  async isSigned(): Promise<boolean> {
    const { userId, deviceId } = this.#options;
    return (await this.#machine.getDevice(new UserId(userId), new DeviceId(deviceId)))?.isCrossSignedByOwner() ?? false;
  }

  async sessionCount(): Promise<number> {
    return (await this.#machine.roomKeyCounts()).total;
  }

  /**
   * Makes an identity where there is none here, publishes it, and signs this device with it. `kept` must have the private keys safe before it resolves: only
   * then are the public ones published.
   */
  async bootstrap(kept: (keys: CrossSigningKeys) => Promise<void>): Promise<void> {
    const requests = await this.#machine.bootstrapCrossSigning(false);
    await kept(await this.#exportKeys());
    await this.commit();
    if (requests.uploadKeysRequest !== undefined) await this.#send(requests.uploadKeysRequest as MachineRequest);
    await this.#options.client().keys('device_signing/upload', requests.uploadSigningKeysRequest.body);
    await this.#send(requests.uploadSignaturesRequest);
    await this.look(this.#options.userId);
    await this.commit();
  }

  /** Takes an identity over from its private keys, and signs this device with it. @throws Failure `crypto.wrong-recovery` */
  async adopt(keys: CrossSigningKeys): Promise<void> {
    const { userId, deviceId } = this.#options;
    await this.drain();
    // The public part must be known to be compared with.
    await this.look(userId);
    await this.#machine.importCrossSigningKeys(keys.master, keys.selfSigning, keys.userSigning).catch(() => undefined);
    if (!(await this.hasIdentity())) throw new Failure('crypto.wrong-recovery');
    const device = await this.#machine.getDevice(new UserId(userId), new DeviceId(deviceId));
    const signatures: SignatureUploadRequest | undefined = await device?.verify();
    await this.commit();
    if (signatures !== undefined) await this.#send(signatures);
    await this.look(userId);
    await this.commit();
  }

  async #exportKeys(): Promise<CrossSigningKeys> {
    const exported = await this.#machine.exportCrossSigningKeys();
    const { masterKey, self_signing_key: selfSigning, userSigningKey } = exported ?? {};
    if (masterKey === undefined || selfSigning === undefined || userSigningKey === undefined)
      throw new TypeError('the cross-signing keys were not made');
    return { master: masterKey, selfSigning, userSigning: userSigningKey };
  }

  /** One request of the machine. What it has changed is kept before another device or the homeserver can see it. */
  async #send(request: MachineRequest): Promise<void> {
    const { client } = this.#options;
    if (request.type === RequestType.KeysUpload || request.type === RequestType.ToDevice) await this.commit();
    let answer: unknown;
    if (request.type === RequestType.ToDevice) {
      const { event_type: type, txn_id: txnId } = request as MachineRequest & { event_type: string; txn_id: string };
      const body = JSON.parse(request.body) as Record<string, unknown>;
      answer = await client().sendToDevice(type, txnId, { messages: body['messages'] ?? body });
    } else {
      const endpoint = endpoints[request.type];
      if (endpoint === undefined) return;
      answer = await client().keys(endpoint, request.body);
      if (request.type === RequestType.KeysQuery)
        for (const userId of Object.keys((JSON.parse(request.body) as { device_keys: object }).device_keys)) this.#asked.add(userId);
    }
    if (request.id !== undefined) await this.#machine.markRequestAsSent(request.id, request.type, JSON.stringify(answer));
  }
}
