import { randomUUID } from 'node:crypto';
import { openTimeline, type Timeline } from './timeline.ts';

export interface RoomEvent {
  event_id: string;
  room_id: string;
  type: string;
  sender: string;
  origin_server_ts: number;
  state_key?: string;
  redacts?: string;
  content: Record<string, unknown>;
  unsigned?: Record<string, unknown>;
  /** It came encrypted, and type and content are what was in it. */
  encrypted?: true;
}

export type Content = Record<string, unknown>;

/** An answer of the homeserver other than 2xx. */
export class HttpError extends Error {
  readonly status: number;
  readonly errcode: string | null;
  constructor(what: string, status: number, text: string) {
    super(`${what}: ${status} ${text.slice(0, 500)}`);
    this.status = status;
    this.errcode = parsed(text)?.errcode ?? null;
  }
}

function parsed(text: string): { errcode?: string } | null {
  try {
    return JSON.parse(text) as { errcode?: string };
  } catch {
    return null;
  }
}

export interface Credentials {
  url: string;
  userId: string;
  accessToken: string;
  deviceId?: string;
}

/** A person at a Matrix client: raw requests, no library of the bot. Each method's error is HttpError, or fetch's own. */
export interface MatrixClient extends Credentials {
  /** Any request: `path` from `/_matrix` or `/_synapse` on; `body` as JSON. Returns the JSON answer. */
  request<T = Content>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T>;
  /** Returns the room id. */
  createRoom(options?: Content): Promise<string>;
  /** Returns the room id. */
  join(roomIdOrAlias: string): Promise<string>;
  leave(roomId: string): Promise<void>;
  invite(roomId: string, userId: string): Promise<void>;
  /** Sends `m.text`, with `extra` in its content. Returns the event id. */
  send(roomId: string, text: string, extra?: Content): Promise<string>;
  /** Sends an event of any type. Returns the event id. */
  sendEvent(roomId: string, type: string, content: Content): Promise<string>;
  /** Returns the event id. */
  setState(roomId: string, type: string, content: Content, stateKey?: string): Promise<string>;
  getState(roomId: string, type: string, stateKey?: string): Promise<Content>;
  /** Returns the reaction's event id, which can be redacted. */
  react(roomId: string, eventId: string, key: string): Promise<string>;
  redact(roomId: string, eventId: string, reason?: string): Promise<string>;
  reply(roomId: string, eventId: string, text: string): Promise<string>;
  edit(roomId: string, eventId: string, text: string): Promise<string>;
  /** Returns the `mxc://` address. */
  upload(bytes: Uint8Array | string, contentType?: string, filename?: string): Promise<string>;
  download(mxc: string): Promise<Buffer>;
  /** Uploads and sends an `m.file`; a caption becomes its body. Returns the event id. */
  sendFile(roomId: string, file: { name: string; bytes: Uint8Array | string; contentType?: string; caption?: string }): Promise<string>;
  /** The last `limit` (default 50) events of a room, oldest first. */
  messages(roomId: string, limit?: number): Promise<RoomEvent[]>;
  /** Everything that comes from now on, in all rooms. */
  timeline(): Promise<Timeline>;
}

/** Logs in with a password; `user` is a localpart or a Matrix id. */
export async function login(url: string, user: string, password: string, deviceId?: string): Promise<MatrixClient> {
  const body = { type: 'm.login.password', identifier: { type: 'm.id.user', user }, password, device_id: deviceId };
  const made = await request<{ user_id: string; access_token: string; device_id: string }>(
    { url },
    'POST',
    '/_matrix/client/v3/login',
    body,
  );
  return openClient({ url, userId: made.user_id, accessToken: made.access_token, deviceId: made.device_id });
}

/** A client for a token that is there. */
export function openClient(credentials: Credentials): MatrixClient {
  const call = <T = Content>(method: string, path: string, body?: unknown, signal?: AbortSignal) =>
    request<T>(credentials, method, path, body, signal);
  const room = (id: string, ...rest: string[]) => `/_matrix/client/v3/rooms/${[id, ...rest].map(encodeURIComponent).join('/')}`;
  const eventId = async (answer: Promise<Content>) => (await answer)['event_id'] as string;

  const client: MatrixClient = {
    ...credentials,
    request: call,
    createRoom: async (options = {}) => (await call<{ room_id: string }>('POST', '/_matrix/client/v3/createRoom', options)).room_id,
    join: async (idOrAlias) =>
      (await call<{ room_id: string }>('POST', `/_matrix/client/v3/join/${encodeURIComponent(idOrAlias)}`, {})).room_id,
    async leave(roomId) {
      await call('POST', room(roomId, 'leave'), {});
    },
    async invite(roomId, userId) {
      await call('POST', room(roomId, 'invite'), { user_id: userId });
    },
    send: (roomId, text, extra = {}) => client.sendEvent(roomId, 'm.room.message', { msgtype: 'm.text', body: text, ...extra }),
    sendEvent: (roomId, type, content) => eventId(call('PUT', room(roomId, 'send', type, randomUUID()), content)),
    setState: (roomId, type, content, stateKey = '') => eventId(call('PUT', room(roomId, 'state', type, stateKey), content)),
    getState: (roomId, type, stateKey = '') => call('GET', room(roomId, 'state', type, stateKey)),
    react: (roomId, of, key) => client.sendEvent(roomId, 'm.reaction', { 'm.relates_to': { rel_type: 'm.annotation', event_id: of, key } }),
    redact: (roomId, of, reason) => eventId(call('PUT', room(roomId, 'redact', of, randomUUID()), { reason })),
    reply: (roomId, of, text) => client.send(roomId, text, { 'm.relates_to': { 'm.in_reply_to': { event_id: of } } }),
    edit: (roomId, of, text) =>
      client.send(roomId, `* ${text}`, {
        'm.new_content': { msgtype: 'm.text', body: text },
        'm.relates_to': { rel_type: 'm.replace', event_id: of },
      }),
    upload: (bytes, contentType = 'application/octet-stream', filename) => upload(credentials, bytes, contentType, filename),
    download: (mxc) => download(credentials, mxc),
    async sendFile(roomId, { name, bytes, contentType = 'application/octet-stream', caption }) {
      const url = await client.upload(bytes, contentType, name);
      const info = { mimetype: contentType, size: Buffer.byteLength(bytes) };
      return await client.sendEvent(roomId, 'm.room.message', { msgtype: 'm.file', body: caption ?? name, filename: name, url, info });
    },
    async messages(roomId, limit = 50) {
      const { chunk } = await call<{ chunk: RoomEvent[] }>('GET', `${room(roomId, 'messages')}?dir=b&limit=${limit}`);
      return chunk.reverse();
    },
    timeline: () => openTimeline(call),
  };
  return client;
}

async function request<T>(
  { url, accessToken }: { url: string; accessToken?: string },
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  const response = await fetch(url + path, {
    method,
    headers: { ...authorization(accessToken), ...(body !== undefined && { 'Content-Type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(signal && { signal }),
  });
  const text = await response.text();
  if (!response.ok) throw new HttpError(`${method} ${path}`, response.status, text);
  return JSON.parse(text) as T;
}

async function upload(
  { url, accessToken }: Credentials,
  bytes: Uint8Array | string,
  contentType: string,
  filename?: string,
): Promise<string> {
  const path = `/_matrix/media/v3/upload${filename === undefined ? '' : `?filename=${encodeURIComponent(filename)}`}`;
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { ...authorization(accessToken), 'Content-Type': contentType },
    body: Buffer.from(bytes),
  });
  const text = await response.text();
  if (!response.ok) throw new HttpError('upload', response.status, text);
  return (JSON.parse(text) as { content_uri: string }).content_uri;
}

async function download({ url, accessToken }: Credentials, mxc: string): Promise<Buffer> {
  const path = `/_matrix/client/v1/media/download/${mxc.slice('mxc://'.length)}`;
  const response = await fetch(url + path, { headers: authorization(accessToken) });
  if (!response.ok) throw new HttpError(`download ${mxc}`, response.status, await response.text());
  return Buffer.from(await response.arrayBuffer());
}

function authorization(accessToken?: string): Record<string, string> {
  return accessToken === undefined ? {} : { Authorization: `Bearer ${accessToken}` };
}
