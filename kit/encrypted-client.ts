import { silent } from './quiet-sdk.ts';
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, MatrixEvent, MatrixEventEvent } from 'matrix-js-sdk';
import { OnlySignedDevicesIsolationMode } from 'matrix-js-sdk/lib/crypto-api/index.js';
import { login, openClient, type Content, type Credentials, type MatrixClient, type RoomEvent } from './client.ts';
import { openTimeline } from './timeline.ts';

/** A person at a client that encrypts: matrix-js-sdk, the SDK inside Element, on a device of its own, with "exclude insecure devices" on. */
export interface EncryptedClient extends MatrixClient {
  /** The device that encrypts and decrypts. */
  readonly cryptoDeviceId: string;
  /** Sends in plain, whatever the room is: what a careless client or a homeserver would do. */
  readonly plain: MatrixClient;
  /** Makes another cross-signing identity in place of the one that is there. */
  resetIdentity(): Promise<void>;
  /** The event as this client reads it; as it was when it cannot. */
  read(event: RoomEvent, ms?: number): Promise<RoomEvent>;
  /** Keeps its identity and the keys of what it could read, for a later `openEncryptedClient` with the same `keysPath`. */
  keepKeys(): Promise<void>;
  /** Ends its connection. */
  close(): void;
}

export interface EncryptedClientOptions extends Credentials {
  password: string;
  /** Whether it cross-signs its device. Default true. */
  signed?: boolean;
  /** File that an earlier `keepKeys` wrote, or will write. */
  keysPath?: string;
}

/** How long an event waits for its key. */
const patience = 5000;
/** Milliseconds that a request may take, a sync that waits for news among them. */
const longestRequest = 110_000;
/** Logs in on a new device, which lives as long as this process. */
export async function openEncryptedClient({
  password,
  signed = true,
  keysPath,
  ...credentials
}: EncryptedClientOptions): Promise<EncryptedClient> {
  const plain = openClient(credentials);
  const session = await login(credentials.url, credentials.userId, password);
  const sdk = createClient({
    baseUrl: credentials.url,
    accessToken: session.accessToken,
    userId: credentials.userId,
    deviceId: session.deviceId ?? '',
    logger: silent,
    fetchFn: (resource, init) => {
      const deadline = AbortSignal.timeout(longestRequest);
      return fetch(resource, { ...init, signal: init?.signal == null ? deadline : AbortSignal.any([init.signal, deadline]) });
    },
  });
  // For each request with a deadline it sets a timer that it never clears, and that keeps the process for up to 110 s.
  const requestOtherUrl = sdk.http.requestOtherUrl.bind(sdk.http) as (...request: [unknown, unknown, unknown?, object?]) => never;
  Object.assign(sdk.http, {
    requestOtherUrl: (method: unknown, url: unknown, body?: unknown, options: object = {}) =>
      requestOtherUrl(method, url, body, { ...options, localTimeoutMs: undefined }),
  });
  await sdk.initRustCrypto({ useIndexedDB: false });
  const crypto = sdk.getCrypto();
  if (crypto === undefined) throw new Error('the SDK has no crypto');
  const bootstrap = (setupNewCrossSigning: boolean): Promise<void> =>
    crypto.bootstrapCrossSigning({
      setupNewCrossSigning,
      authUploadDeviceSigningKeys: async (request) => {
        try {
          await request(null);
        } catch (error) {
          const { session: uia } = (error as { data?: { session?: string } }).data ?? {};
          await request({ type: 'm.login.password', identifier: { type: 'm.id.user', user: credentials.userId }, password, session: uia });
        }
      },
    });
  const kept = keysPath === undefined ? null : await readFile(keysPath, 'utf8').catch(() => null);
  if (kept !== null) {
    const { secrets, roomKeys } = JSON.parse(kept) as { secrets: never; roomKeys: string };
    await crypto.importSecretsBundle?.(secrets);
    await crypto.importRoomKeysAsJson(roomKeys);
  }
  if (signed) await bootstrap(false);
  // With it on, what is not signed itself cannot even send.
  if (signed) crypto.setDeviceIsolationMode(new OnlySignedDevicesIsolationMode());
  await sdk.startClient({ initialSyncLimit: 1, pollTimeout: 30_000 });

  const read = async (event: RoomEvent, ms = patience): Promise<RoomEvent> => {
    if (event.type !== 'm.room.encrypted') return event;
    const wrapped = new MatrixEvent(event);
    await sdk.decryptEventIfNeeded(wrapped);
    if (wrapped.isDecryptionFailure())
      await Promise.race([
        new Promise((resolve) => wrapped.once(MatrixEventEvent.Decrypted, resolve)),
        sleep(ms, undefined, { ref: false }),
      ]);
    if (wrapped.isDecryptionFailure() || wrapped.getType() === 'm.room.encrypted') return event;
    const relation = event.content['m.relates_to'];
    const content = { ...wrapped.getClearContent(), ...(relation === undefined ? {} : { 'm.relates_to': relation }) };
    return { ...event, type: wrapped.getType(), content, encrypted: true };
  };
  const encrypted = new Set<string>();
  const isEncrypted = async (roomId: string): Promise<boolean> => {
    if (encrypted.has(roomId)) return true;
    const found = await plain.getState(roomId, 'm.room.encryption').then(
      () => true,
      () => false,
    );
    if (found) encrypted.add(roomId);
    return found;
  };
  // Its types know the standard's events only.
  const sendAny: (roomId: string, type: never, content: never) => Promise<{ event_id: string }> = sdk.sendEvent.bind(sdk);
  const base = openClient(credentials);
  const client: EncryptedClient = {
    ...base,
    cryptoDeviceId: session.deviceId ?? '',
    plain,
    async request<T = Content>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
      const answer = await plain.request<T>(method, path, body, signal);
      return withEventsRead(answer, path, read);
    },
    send: (roomId, text, extra = {}) => client.sendEvent(roomId, 'm.room.message', { msgtype: 'm.text', body: text, ...extra }),
    async sendEvent(roomId, type, content) {
      if (type === 'm.reaction' || !(await isEncrypted(roomId))) return plain.sendEvent(roomId, type, content);
      await until(() => sdk.getRoom(roomId)?.hasEncryptionStateEvent() === true, 'the SDK knows that the room is encrypted');
      const { event_id: eventId } = await sendAny(roomId, type as never, content as never);
      return eventId;
    },
    reply: (roomId, of, text) => client.send(roomId, text, { 'm.relates_to': { 'm.in_reply_to': { event_id: of } } }),
    edit: (roomId, of, text) =>
      client.send(roomId, `* ${text}`, {
        'm.new_content': { msgtype: 'm.text', body: text },
        'm.relates_to': { rel_type: 'm.replace', event_id: of },
      }),
    async sendFile(roomId, file) {
      if (!(await isEncrypted(roomId))) return plain.sendFile(roomId, file);
      const { name, bytes, contentType = 'application/octet-stream', caption } = file;
      const { bytes: ciphertext, describe } = encryptFile(Buffer.from(bytes));
      const described = describe(await plain.upload(ciphertext));
      const info = { mimetype: contentType, size: Buffer.byteLength(bytes) };
      return client.sendEvent(roomId, 'm.room.message', {
        msgtype: 'm.file',
        body: caption ?? name,
        filename: name,
        file: described,
        info,
      });
    },
    async messages(roomId, limit = 50) {
      return Promise.all((await plain.messages(roomId, limit)).map((event) => read(event)));
    },
    timeline: () => openTimeline((...request) => plain.request(...request), read),
    resetIdentity: () => bootstrap(true),
    read,
    async keepKeys() {
      if (keysPath === undefined) return;
      const state = { secrets: await crypto.exportSecretsBundle?.(), roomKeys: await crypto.exportRoomKeysAsJson() };
      await writeFile(keysPath, JSON.stringify(state), { mode: 0o600 });
    },
    close: () => {
      sdk.stopClient();
    },
  };
  return client;
}

/** The file of a message, decrypted where it is encrypted. Errors: the bytes are not those that were described. */
export async function downloadFile(client: MatrixClient, content: Content): Promise<Buffer> {
  const file = content['file'] as { url: string; key: { k: string }; iv: string; hashes: { sha256: string } } | undefined;
  if (file === undefined) return client.download(String(content['url']));
  const ciphertext = await client.download(file.url);
  if (createHash('sha256').update(ciphertext).digest('base64').replace(/=+$/, '') !== file.hashes.sha256.replace(/=+$/, ''))
    throw new Error('the hash of the encrypted file is wrong');
  const decipher = createDecipheriv('aes-256-ctr', Buffer.from(file.key.k, 'base64url'), Buffer.from(file.iv, 'base64'));
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
}

function encryptFile(bytes: Buffer): { bytes: Buffer; describe: (url: string) => Content } {
  const key = randomBytes(32);
  const iv = Buffer.concat([randomBytes(8), Buffer.alloc(8)]);
  const ciphertext = createCipheriv('aes-256-ctr', key, iv).update(bytes);
  const unpadded = (of: Buffer): string => of.toString('base64').replace(/=+$/, '');
  return {
    bytes: ciphertext,
    describe: (url) => ({
      url,
      v: 'v2',
      key: { kty: 'oct', alg: 'A256CTR', ext: true, key_ops: ['encrypt', 'decrypt'], k: key.toString('base64url') },
      iv: unpadded(iv),
      hashes: { sha256: unpadded(createHash('sha256').update(ciphertext).digest()) },
    }),
  };
}

/** What a request for events has answered, with each as the client reads it. */
async function withEventsRead<T>(answer: T, path: string, read: (event: RoomEvent) => Promise<RoomEvent>): Promise<T> {
  const { chunk } = answer as { chunk?: RoomEvent[] };
  if (/\/rooms\/[^/]+\/messages/u.test(path) && Array.isArray(chunk)) {
    const roomId = decodeURIComponent(/\/rooms\/([^/]+)\//u.exec(path)?.[1] ?? '');
    return { ...answer, chunk: await Promise.all(chunk.map((event) => read({ ...event, room_id: roomId }))) };
  }
  return /\/rooms\/[^/]+\/event\//u.test(path) ? ((await read(answer as RoomEvent)) as T) : answer;
}

async function until(is: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 15_000;
  while (!is()) {
    if (performance.now() > end) throw new Error(`never within 15 s: ${what}`);
    await sleep(20);
  }
}
