import { instanceType } from './instance-marker.ts';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { LogService } from 'matrix-bot-sdk/lib/logging/LogService.js';
import { MatrixError } from 'matrix-bot-sdk/lib/models/MatrixError.js';
import { doHttpRequest } from 'matrix-bot-sdk/lib/http.js';
import type { Secret } from '../config/secret.ts';
import { decryptFile, encryptFile, type EncryptedFile } from './crypto/attachment.ts';
import type { RoomEvent, SyncAnswer } from './sync-types.ts';

// The SDK writes request bodies and errors to the console by itself; Steward's log says what is worth saying.
LogService.setLogger({ info: ignore, warn: ignore, error: ignore, debug: ignore, trace: ignore });
function ignore(): void {
  // nothing
}

/** A request that failed. `status` and `errcode` are null when no Matrix answer came at all. */
export class MatrixRequestError extends Error {
  override readonly name = 'MatrixRequestError';
  readonly status: number | null;
  readonly errcode: string | null;
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | null;

  constructor(endpoint: string, status: number | null, errcode: string | null, retryAfter: number | null) {
    super(`${endpoint}: ${status === null ? 'no answer' : `status ${status}`}${errcode === null ? '' : ` ${errcode}`}`);
    this.status = status;
    this.errcode = errcode;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later: no answer, 429, or a server that is ill. */
  get isTemporary(): boolean {
    return this.status === null || this.status === 429 || this.status >= 500 || this.errcode === null;
  }

  /** Whether Synapse itself said nothing: no answer, or a proxy's word that there is none. */
  get isUnanswered(): boolean {
    return this.status === null || (this.status >= 502 && this.status <= 504);
  }

  /** Whether a refusal came that is none of Matrix: a proxy's page. */
  get isRefusedBetween(): boolean {
    return this.errcode === null && this.status !== null && this.status >= 400 && this.status < 500 && ![408, 429].includes(this.status);
  }

  get isUnknownToken(): boolean {
    return this.errcode === 'M_UNKNOWN_TOKEN' || this.errcode === 'M_MISSING_TOKEN' || this.errcode === 'M_USER_DEACTIVATED';
  }
}

/** Below /_matrix/client/v3/keys/ */
export type KeysEndpoint = 'upload' | 'query' | 'claim' | 'signatures/upload' | 'device_signing/upload';

/** What intake asks the server for, and nothing else of a busy server. */
const wanted = ['m.room.message', 'm.room.encrypted', 'm.reaction', 'm.room.redaction', 'm.room.encryption'];
/** State that the room guard looks at. */
const settings = ['m.room.history_visibility', 'm.room.join_rules', 'm.room.guest_access', 'm.room.power_levels', 'm.room.tombstone'];
const filter = JSON.stringify({
  presence: { types: [] },
  account_data: { types: [instanceType] },
  room: {
    // Members, because only their events bring the news that Steward itself was put out of the room.
    timeline: { types: [...wanted, 'm.room.member', ...settings], limit: 100 },
    state: { types: ['m.room.encryption', ...settings], lazy_load_members: true },
    ephemeral: { types: [] },
    account_data: { types: [] },
  },
});

/** The Client-Server API calls that Steward makes, over the SDK's HTTP client. Every method throws MatrixRequestError. */
export class MatrixClient {
  readonly #baseUrl: string;
  readonly #token: Secret;

  constructor(baseUrl: string, token: Secret) {
    this.#baseUrl = baseUrl;
    this.#token = token;
  }

  /** GET /_matrix/client/v3/account/whoami */
  async whoami(): Promise<{ user_id: string; device_id?: string }> {
    return this.#request('GET', '/_matrix/client/v3/account/whoami', { has: 'user_id' });
  }

  /** GET /_matrix/client/v3/sync; `timeout` is the long poll in milliseconds. */
  async sync(since: string | null, timeout: number): Promise<SyncAnswer> {
    return this.#request('GET', '/_matrix/client/v3/sync', {
      query: { filter, timeout, ...(since === null ? {} : { since }) },
      timeout: timeout + 30_000,
      has: 'next_batch',
    });
  }

  /** GET /_matrix/client/v3/rooms/{roomId}/messages backwards from `from` until `to`. */
  async messagesBefore(roomId: string, from: string, to: string): Promise<{ chunk: RoomEvent[]; end?: string }> {
    return this.#request('GET', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages`, {
      query: { dir: 'b', from, to, limit: 100, filter: JSON.stringify({ types: wanted }) },
    });
  }

  /**
   * The newest message of this account with exactly this content, of its last 100 in the room. @returns its id, or null
   */
  async findOwn(roomId: string, content: object): Promise<string | null> {
    const { user_id: userId } = await this.whoami();
    const answer = await this.#request<{ chunk: RoomEvent[] }>('GET', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages`, {
      query: { dir: 'b', limit: 100, filter: JSON.stringify({ senders: [userId], types: ['m.room.message', 'm.room.encrypted'] }) },
    });
    return answer.chunk.find((event) => isDeepStrictEqual(event.content, content))?.event_id ?? null;
  }

  /** GET /_matrix/client/v3/rooms/{roomId}/event/{eventId} */
  async event(roomId: string, eventId: string): Promise<RoomEvent> {
    return this.#request('GET', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/event/${encodeURIComponent(eventId)}`);
  }

  /** @returns the content, or null when there is no such state */
  async state(roomId: string, type: string, stateKey = ''): Promise<Record<string, unknown> | null> {
    try {
      return await this.#request(
        'GET',
        `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state/${encodeURIComponent(type)}/${encodeURIComponent(stateKey)}`,
      );
    } catch (error) {
      if (error instanceof MatrixRequestError && error.errcode === 'M_NOT_FOUND') return null;
      throw error;
    }
  }

  /** PUT …/send/{type}/{txnId}: the same transaction id is the same event, however often it is sent. */
  async send(roomId: string, type: string, txnId: string, content: object): Promise<string> {
    const answer = await this.#request<{ event_id: string }>(
      'PUT',
      `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/${encodeURIComponent(type)}/${encodeURIComponent(txnId)}`,
      { body: content, has: 'event_id' },
    );
    return answer.event_id;
  }

  async redact(roomId: string, eventId: string, txnId: string, reason: string): Promise<string> {
    const answer = await this.#request<{ event_id: string }>(
      'PUT',
      `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/redact/${encodeURIComponent(eventId)}/${encodeURIComponent(txnId)}`,
      { body: { reason }, has: 'event_id' },
    );
    return answer.event_id;
  }

  /** POST …/keys/{endpoint}; `body` is JSON as the crypto library made it. @returns the answer as it came */
  async keys(endpoint: KeysEndpoint, body: string): Promise<unknown> {
    return this.#request('POST', `/_matrix/client/v3/keys/${endpoint}`, { body: JSON.parse(body) as object });
  }

  /** PUT …/sendToDevice/{type}/{txnId} */
  async sendToDevice(type: string, txnId: string, body: object): Promise<unknown> {
    return this.#request('PUT', `/_matrix/client/v3/sendToDevice/${encodeURIComponent(type)}/${encodeURIComponent(txnId)}`, { body });
  }

  /** GET …/rooms/{roomId}/members: user ids of those who are in the room, and of those who are invited. */
  async members(roomId: string): Promise<{ joined: string[]; invited: string[] }> {
    const { chunk } = await this.#request<{ chunk: RoomEvent[] }>('GET', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/members`, {
      query: { not_membership: 'leave' },
    });
    const those = (membership: string): string[] =>
      chunk.flatMap((event) => (event.content['membership'] === membership && event.state_key !== undefined ? [event.state_key] : []));
    return { joined: those('join'), invited: those('invite') };
  }

  /** POST /_matrix/client/v3/createRoom @returns the room id */
  async createRoom(options: object): Promise<string> {
    const answer = await this.#request<{ room_id: string }>('POST', '/_matrix/client/v3/createRoom', { body: options, has: 'room_id' });
    return answer.room_id;
  }

  /** @returns the content, or null when there is none of that type */
  async accountData(userId: string, type: string): Promise<Record<string, unknown> | null> {
    try {
      return await this.#request('GET', `/_matrix/client/v3/user/${encodeURIComponent(userId)}/account_data/${encodeURIComponent(type)}`);
    } catch (error) {
      if (error instanceof MatrixRequestError && error.errcode === 'M_NOT_FOUND') return null;
      throw error;
    }
  }

  async setAccountData(userId: string, type: string, content: object): Promise<void> {
    await this.#request('PUT', `/_matrix/client/v3/user/${encodeURIComponent(userId)}/account_data/${encodeURIComponent(type)}`, {
      body: content,
    });
  }

  async setState(roomId: string, type: string, stateKey: string, content: object): Promise<void> {
    await this.#request(
      'PUT',
      `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state/${encodeURIComponent(type)}/${encodeURIComponent(stateKey)}`,
      { body: content },
    );
  }

  async join(roomId: string): Promise<void> {
    await this.#request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/join`, { body: {} });
  }

  /** Leaves a room, or declines its invitation. */
  async leave(roomId: string): Promise<void> {
    await this.#request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/leave`, { body: {} });
  }

  /**
   * POST /_matrix/media/v3/upload, streamed from the disk.
   *
   * @returns the mxc address and the size in bytes
   */
  async upload(path: string, name: string, mediaType: string): Promise<{ uri: string; size: number }> {
    const { size } = await stat(path);
    return { uri: await this.#upload(createReadStream(path), size, mediaType, `?filename=${encodeURIComponent(name)}`), size };
  }

  /** The same, encrypted on the way: the homeserver learns neither its name nor its type. `size` is that of the file, in bytes. */
  async uploadEncrypted(path: string): Promise<{ encryptedFile: EncryptedFile; size: number }> {
    const { size } = await stat(path);
    const encryption = encryptFile();
    const url = await this.#upload(createReadStream(path).pipe(encryption.stream), size, 'application/octet-stream', '');
    return { encryptedFile: encryption.describe(url), size };
  }

  async #upload(bytes: Readable, size: number, mediaType: string, query: string): Promise<string> {
    const endpoint = 'POST /_matrix/media/v3/upload';
    let answer: Response;
    try {
      answer = await fetch(`${this.#baseUrl}/_matrix/media/v3/upload${query}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${this.#token.reveal()}`, 'content-type': mediaType, 'content-length': String(size) },
        body: Readable.toWeb(bytes),
        duplex: 'half',
        redirect: 'error',
        signal: AbortSignal.timeout(600_000),
      });
    } catch {
      throw new MatrixRequestError(endpoint, null, null, null);
    }
    const body = (await answer.json().catch(() => ({}))) as { content_uri?: string; errcode?: string; retry_after_ms?: number };
    if (!answer.ok || body.content_uri === undefined)
      throw new MatrixRequestError(endpoint, answer.status, body.errcode ?? null, body.retry_after_ms ?? null);
    return body.content_uri;
  }

  /**
   * GET /_matrix/client/v1/media/download/{server}/{mediaId}, decrypted where it is encrypted.
   *
   * @param limit bytes; a larger file throws RangeError, one that is not what its description says TypeError
   */
  async download(file: string | EncryptedFile, limit: number): Promise<Buffer> {
    const bytes = await this.#download(typeof file === 'string' ? file : file.url, limit);
    const chunks: Uint8Array[] = [];
    for await (const chunk of typeof file === 'string' ? bytes : decryptFile(file, bytes)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  async #download(mxc: string, limit: number): Promise<AsyncIterable<Uint8Array>> {
    const [, server = '', mediaId = ''] = /^mxc:\/\/([^/]+)\/([^/]+)$/.exec(mxc) ?? [];
    const endpoint = 'GET /_matrix/client/v1/media/download/{server}/{mediaId}';
    let answer: Response;
    try {
      answer = await fetch(
        `${this.#baseUrl}/_matrix/client/v1/media/download/${encodeURIComponent(server)}/${encodeURIComponent(mediaId)}`,
        {
          headers: { authorization: `Bearer ${this.#token.reveal()}` },
          signal: AbortSignal.timeout(60_000),
        },
      );
    } catch {
      throw new MatrixRequestError(endpoint, null, null, null);
    }
    if (!answer.ok || answer.body === null) throw new MatrixRequestError(endpoint, answer.status, null, null);
    return bounded(answer.body as AsyncIterable<Uint8Array>, limit);
  }

  async #request<T>(
    method: 'GET' | 'PUT' | 'POST',
    endpoint: string,
    options: { query?: Record<string, unknown>; body?: object; timeout?: number; has?: string } = {},
  ): Promise<T> {
    const template = `${method} ${endpoint.split('/').slice(0, 5).join('/')}`;
    let answer: unknown;
    try {
      answer = await doHttpRequest(
        this.#baseUrl,
        method,
        endpoint,
        options.query ?? null,
        options.body ?? null,
        { Authorization: `Bearer ${this.#token.reveal()}` },
        options.timeout ?? 60_000,
      );
    } catch (error) {
      if (error instanceof MatrixError) throw new MatrixRequestError(template, error.statusCode, error.errcode, error.retryAfterMs ?? null);
      const status = (error as { statusCode?: unknown } | null)?.statusCode;
      throw new MatrixRequestError(template, typeof status === 'number' ? status : null, null, null);
    }
    // What a proxy says with status 200 is no answer of the server: a page, or JSON without the text that must be there.
    const isAnswer =
      typeof answer === 'object' &&
      answer !== null &&
      (options.has === undefined || typeof (answer as Record<string, unknown>)[options.has] === 'string');
    if (!isAnswer) throw new MatrixRequestError(template, 502, null, null);
    return answer as T;
  }
}

async function* bounded(bytes: AsyncIterable<Uint8Array>, limit: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > limit) throw new RangeError('the file is larger than the limit');
    yield chunk;
  }
}
