import { z } from 'zod';
import { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type { ClientApi } from '../admin-room.ts';
import type { SynapseHttp, SynapseRequest } from './http.ts';
import {
  device,
  fetchedEvent,
  mediaInfo,
  redactStatus,
  roomDetails,
  userDetails,
  userPage,
  userPageEnd,
  userRows,
  type RedactStatus,
  type RoomDetails,
  type UserDetails,
  type UserPage,
  type UserRow,
} from './shapes.ts';

/** Synapse walks all rows before a page, so large pages are cheap where all rows are wanted. */
const largePage = 20_000;
/** Milliseconds for a page that may wait for somebody who reads it on a terminal; a silent server is given up much sooner. */
const slowReader = 24 * 3_600_000;

export interface UserFilter {
  /** Part of a localpart or display name. */
  name?: string | undefined;
  /** true: only, false: none, undefined: all. */
  deactivated?: boolean | undefined;
  admins?: boolean | undefined;
  guests?: boolean | undefined;
  orderBy?: 'name' | 'creation_ts' | 'last_seen_ts' | undefined;
  descending?: boolean | undefined;
}

/** What PUT /_synapse/admin/v2/users/{user_id} may carry; a field that is left out stays as it is. */
export interface UserChange {
  password?: Secret;
  logoutDevices?: boolean;
  displayname?: string;
  threepids?: readonly { medium: string; address: string }[];
  admin?: boolean;
  deactivated?: boolean;
}

/** The homeserver's Admin API. Every method throws Failures of the family `homeserver`; null means not found. */
export class Synapse {
  readonly serverName: string;
  readonly #admin: SynapseHttp;
  readonly #client: SynapseHttp;

  /** @param admin where /_synapse/admin answers; `client` where /_matrix/client does */
  constructor(serverName: string, admin: SynapseHttp, client: SynapseHttp) {
    this.serverName = serverName;
    this.#admin = admin;
    this.#client = client;
  }

  /** GET /_synapse/admin/v1/server_version: `1.163.2`, without what a build adds after a space. */
  async version(): Promise<string> {
    const answer = await this.#required(z.object({ server_version: z.string() }), {
      method: 'GET',
      path: '/_synapse/admin/v1/server_version',
      timeout: 10_000,
    });
    return answer.server_version.split(' ')[0] ?? answer.server_version;
  }

  /** GET /_matrix/client/versions */
  async clientVersions(): Promise<string[]> {
    const answer = await this.#parsed(this.#client, z.object({ versions: z.array(z.string()) }), {
      method: 'GET',
      path: '/_matrix/client/versions',
      timeout: 10_000,
    });
    return answer?.versions ?? [];
  }

  /** The Client-Server API as Steward's own account, for what stands in no method here. */
  get client(): ClientApi {
    return (request) => this.#client.json(request);
  }

  /** GET /_matrix/client/v3/account/whoami: whose the access token is. */
  async whoami(): Promise<{ userId: string; deviceId: string | null }> {
    const request: SynapseRequest = { method: 'GET', path: '/_matrix/client/v3/account/whoami' };
    const answer = await this.#parsed(this.#client, z.object({ user_id: z.string(), device_id: z.string().optional() }), request);
    if (answer === null) throw new Failure('homeserver.no-endpoint', { attempted: `${request.method} ${request.path}` });
    return { userId: answer.user_id, deviceId: answer.device_id ?? null };
  }

  /** GET /_synapse/admin/v1/users/{user_id}/override_ratelimit: whether 0 messages a second, which is no limit, is set. */
  async isExemptFromRateLimit(userId: string): Promise<boolean> {
    const answer = await this.#required(z.object({ messages_per_second: z.number().optional() }), {
      method: 'GET',
      path: '/_synapse/admin/v1/users/{user}/override_ratelimit',
      params: { user: userId },
    });
    return answer.messages_per_second === 0;
  }

  /** Whether accounts are owned by Matrix Authentication Service: GET /_matrix/client/v1/auth_metadata answers 200. */
  async delegatesAuthentication(): Promise<boolean> {
    try {
      return (await this.#client.json({ method: 'GET', path: '/_matrix/client/v1/auth_metadata', timeout: 10_000 })) !== null;
    } catch (error) {
      if (error instanceof Failure && error.id === 'homeserver.no-endpoint') return false;
      throw error;
    }
  }

  /** GET /_synapse/admin/v3/users: one page of at most `limit` rows from `from` on. */
  async users(filter: UserFilter, from: string, limit: number): Promise<UserPage> {
    return this.#required(userPage, usersRequest(filter, from, limit));
  }

  /** GET /_synapse/admin/v3/users: all rows from `from` on, some at a time while they stream in. */
  async *allUsers(filter: UserFilter, from: string): AsyncGenerator<UserRow[]> {
    for (let next: string | null = from; next !== null;) {
      const request: SynapseRequest = { ...usersRequest(filter, next, largePage), timeout: slowReader };
      for await (const part of this.#admin.rows(request)) {
        if ('rows' in part) yield checked(userRows, request, part.rows);
        else next = checked(userPageEnd, request, part.around).next_token;
      }
    }
  }

  /** GET /_synapse/admin/v2/users/{user_id} */
  async user(userId: string): Promise<UserDetails | null> {
    return this.#parsed(this.#admin, userDetails, { method: 'GET', path: '/_synapse/admin/v2/users/{user}', params: { user: userId } });
  }

  /** PUT /_synapse/admin/v2/users/{user_id}: makes the account when there is none, so look before. */
  async putUser(userId: string, change: UserChange): Promise<void> {
    await this.#admin.json({
      method: 'PUT',
      path: '/_synapse/admin/v2/users/{user}',
      params: { user: userId },
      body: {
        ...(change.password === undefined ? {} : { password: change.password.reveal(), logout_devices: change.logoutDevices ?? true }),
        ...(change.displayname === undefined ? {} : { displayname: change.displayname }),
        ...(change.threepids === undefined ? {} : { threepids: change.threepids }),
        ...(change.admin === undefined ? {} : { admin: change.admin }),
        ...(change.deactivated === undefined ? {} : { deactivated: change.deactivated }),
      },
      timeout: 120_000,
    });
  }

  /** POST /_synapse/admin/v1/deactivate/{user_id}; rooms are left in the background afterwards. */
  async deactivate(userId: string, erase: boolean): Promise<void> {
    await this.#admin.json({
      method: 'POST',
      path: '/_synapse/admin/v1/deactivate/{user}',
      params: { user: userId },
      body: { erase },
      timeout: 120_000,
    });
  }

  /** GET /_synapse/admin/v1/users/{user_id}/joined_rooms */
  async joinedRooms(userId: string): Promise<string[]> {
    const answer = await this.#required(z.object({ joined_rooms: z.array(z.string()) }), {
      method: 'GET',
      path: '/_synapse/admin/v1/users/{user}/joined_rooms',
      params: { user: userId },
    });
    return answer.joined_rooms;
  }

  /** GET /_synapse/admin/v1/users/{user_id}/memberships: every room that it ever was in, with how it stands there. Synapse 1.145 and later. */
  async memberships(userId: string): Promise<Readonly<Record<string, string>>> {
    const answer = await this.#required(z.object({ memberships: z.record(z.string(), z.string()) }), {
      method: 'GET',
      path: '/_synapse/admin/v1/users/{user}/memberships',
      params: { user: userId },
      timeout: 120_000,
    });
    return answer.memberships;
  }

  /**
   * POST /_synapse/admin/v1/user/{user_id}/redact: begins to redact its messages in these rooms, the newest first.
   *
   * @param limit messages a room
   * @returns what `redactStatus` takes
   */
  async redactUser(userId: string, rooms: readonly string[], reason: string, limit: number): Promise<string> {
    const answer = await this.#required(z.object({ redact_id: z.string() }), {
      method: 'POST',
      path: '/_synapse/admin/v1/user/{user}/redact',
      params: { user: userId },
      body: { rooms, reason, limit },
      timeout: 120_000,
    });
    return answer.redact_id;
  }

  /** GET /_synapse/admin/v1/user/redact_status/{redact_id}; null when it is not known (any more: Synapse forgets after 7 days). */
  async redactStatus(redactId: string): Promise<RedactStatus | null> {
    return this.#parsed(this.#admin, redactStatus, {
      method: 'GET',
      path: '/_synapse/admin/v1/user/redact_status/{redact}',
      params: { redact: redactId },
    });
  }

  /** GET /_synapse/admin/v2/users/{user_id}/devices */
  async devices(userId: string): Promise<z.output<typeof device>[]> {
    const answer = await this.#required(z.object({ devices: z.array(device) }), {
      method: 'GET',
      path: '/_synapse/admin/v2/users/{user}/devices',
      params: { user: userId },
    });
    return answer.devices;
  }

  /** GET /_synapse/admin/v1/threepid/email/users/{address}: whose address it is. */
  async userOfEmail(address: string): Promise<string | null> {
    const answer = await this.#parsed(this.#admin, z.object({ user_id: z.string() }), {
      method: 'GET',
      path: '/_synapse/admin/v1/threepid/{medium}/users/{address}',
      params: { medium: 'email', address },
    });
    return answer?.user_id ?? null;
  }

  /** GET /_synapse/admin/v1/rooms: how many rooms there are. */
  async roomCount(): Promise<number> {
    const answer = await this.#required(z.object({ total_rooms: z.number() }), {
      method: 'GET',
      path: '/_synapse/admin/v1/rooms',
      query: { limit: 1 },
    });
    return answer.total_rooms;
  }

  /** GET /_synapse/admin/v1/rooms/{room_id} */
  async room(roomId: string): Promise<RoomDetails | null> {
    return this.#parsed(this.#admin, roomDetails, { method: 'GET', path: '/_synapse/admin/v1/rooms/{room}', params: { room: roomId } });
  }

  /** GET /_matrix/client/v3/directory/room/{alias} */
  async roomOfAlias(alias: string): Promise<string | null> {
    const answer = await this.#parsed(this.#client, z.object({ room_id: z.string() }), {
      method: 'GET',
      path: '/_matrix/client/v3/directory/room/{alias}',
      params: { alias },
    });
    return answer?.room_id ?? null;
  }

  /** GET /_synapse/admin/v1/media/{server}/{media_id} */
  async media(server: string, mediaId: string): Promise<z.output<typeof mediaInfo>['media_info'] | null> {
    const answer = await this.#parsed(this.#admin, mediaInfo, {
      method: 'GET',
      path: '/_synapse/admin/v1/media/{server}/{media}',
      params: { server, media: mediaId },
    });
    return answer?.media_info ?? null;
  }

  /** GET /_synapse/admin/v1/fetch_event/{event_id} */
  async event(eventId: string): Promise<z.output<typeof fetchedEvent>['event'] | null> {
    const answer = await this.#parsed(this.#admin, fetchedEvent, {
      method: 'GET',
      path: '/_synapse/admin/v1/fetch_event/{event}',
      params: { event: eventId },
    });
    return answer?.event ?? null;
  }

  /**
   * Whether "Forgot password?" mails a link: POST /_matrix/client/v3/account/password/email/requestToken for an address
   * that nobody can have, so that nothing is mailed or kept. Synapse refuses all of them where it has no `email:`.
   */
  async sendsResetMail(): Promise<boolean> {
    try {
      await this.#client.json({
        method: 'POST',
        path: '/_matrix/client/v3/account/password/email/requestToken',
        body: { client_secret: 'steward-asks-whether-mail-is-on', email: 'nobody@steward.invalid', send_attempt: 1 },
        token: null,
      });
      return true;
    } catch (error) {
      if (error instanceof Failure && error.id === 'homeserver.refused') return error.reason.includes('THREEPID_NOT_FOUND');
      if (error instanceof Failure && error.id === 'homeserver.no-endpoint') return false;
      throw error;
    }
  }

  /**
   * Whether a password logs in: POST /_matrix/client/v3/login with a device of its own, which is logged out again.
   *
   * @throws Failure `homeserver.rate-limited` when logins are bounded tighter than the wait
   */
  async passwordWorks(userId: string, password: Secret): Promise<boolean> {
    let token: string;
    try {
      const answer = await this.#parsed(this.#client, z.object({ access_token: z.string() }), {
        method: 'POST',
        path: '/_matrix/client/v3/login',
        body: {
          type: 'm.login.password',
          identifier: { type: 'm.id.user', user: userId },
          password: password.reveal(),
          initial_device_display_name: 'Steward: password check',
        },
        token: null,
      });
      if (answer === null) return false;
      token = answer.access_token;
    } catch (error) {
      if (error instanceof Failure && error.id === 'homeserver.refused') return false;
      throw error;
    }
    await this.#client.json({ method: 'POST', path: '/_matrix/client/v3/logout', body: {}, token: new Secret(token) });
    return true;
  }

  async #required<T extends z.ZodType>(shape: T, request: SynapseRequest): Promise<z.output<T>> {
    const parsed = await this.#parsed(this.#admin, shape, request);
    if (parsed === null) throw new Failure('target.not-found', { attempted: `${request.method} ${request.path}` });
    return parsed;
  }

  async #parsed<T extends z.ZodType>(http: SynapseHttp, shape: T, request: SynapseRequest): Promise<z.output<T> | null> {
    const answer = await http.json(request);
    if (answer === null) return null;
    return checked(shape, request, answer);
  }
}

function usersRequest(filter: UserFilter, from: string, limit: number): SynapseRequest {
  return {
    method: 'GET',
    path: '/_synapse/admin/v3/users',
    query: {
      from,
      limit,
      name: filter.name,
      deactivated: filter.deactivated,
      admins: filter.admins,
      guests: filter.guests ?? true,
      locked: true,
      order_by: filter.orderBy,
      dir: filter.descending === true ? 'b' : undefined,
    },
    timeout: 120_000,
  };
}

function checked<T extends z.ZodType>(shape: T, request: SynapseRequest, answer: unknown): z.output<T> {
  const result = shape.safeParse(answer);
  if (result.success) return result.data;
  const where = result.error.issues[0]?.path.join('.') ?? '';
  throw new Failure('homeserver.bad-answer', {
    attempted: `${request.method} ${request.path}`,
    reason: `the answer lacks what it should have at \`${where}\``,
  });
}
