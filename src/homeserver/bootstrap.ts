import { z } from 'zod';
import type { Clock, Ids } from '../clock.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { longSecret, registerPath, registrationBody } from './registration.ts';
import { SynapseHttp, type SynapseRequest } from './synapse/http.ts';

/** What may make the bot's account: the token of a server admin, or the homeserver's registration_shared_secret. */
export type Authority = { kind: 'admin-token' | 'registration-secret'; secret: Secret };

export interface Identity {
  userId: string;
  /** The part after the colon. */
  serverName: string;
  deviceId: string | null;
}

/** Keeps the bot's random password from before its account is made until its token is stored, so that a broken run can go on. */
export interface PendingPassword {
  read(): Promise<Secret | null>;
  keep(password: Secret): Promise<void>;
  drop(): Promise<void>;
}

const displayName = 'Steward';
const whoami = z.object({ user_id: z.string(), device_id: z.string().optional() });
const session = z.object({ access_token: z.string(), user_id: z.string() });
const account = z.object({
  admin: z.union([z.boolean(), z.number()]).optional(),
  deactivated: z.union([z.boolean(), z.number()]).optional(),
  user_type: z.string().nullish(),
});
const override = z.object({ messages_per_second: z.number().optional(), burst_count: z.number().optional() });

/** What is done on a homeserver before there is a configuration. Each method may be called again, and throws Failures of the family `homeserver`. */
export class Bootstrap {
  readonly #ids: Ids;
  readonly #client: SynapseHttp;
  readonly #admin: SynapseHttp;

  /** @param adminUrl where /_synapse/admin answers; `url` where /_matrix/client does */
  constructor({ url, adminUrl, clock, ids }: { url: string; adminUrl: string; clock: Clock; ids: Ids }) {
    this.#ids = ids;
    this.#client = new SynapseHttp({ baseUrl: url, token: new Secret(''), clock });
    this.#admin = new SynapseHttp({ baseUrl: adminUrl, token: new Secret(''), clock });
  }

  /** A request to the Client-Server API with this token. */
  async client(request: SynapseRequest & { token: Secret | null }): Promise<unknown> {
    return this.#client.json(request);
  }

  /** The issuer of Matrix Authentication Service where it owns the accounts, otherwise null. */
  async delegatedTo(): Promise<string | null> {
    try {
      const answer = await this.#client.json({ method: 'GET', path: '/_matrix/client/v1/auth_metadata', token: null });
      return z.object({ issuer: z.string() }).safeParse(answer).data?.issuer ?? null;
    } catch (error) {
      if (error instanceof Failure && error.id === 'homeserver.no-endpoint') return null;
      throw error;
    }
  }

  /** Whose token it is; null when the homeserver does not know it. */
  async identify(token: Secret): Promise<Identity | null> {
    try {
      const { user_id: userId, device_id: deviceId = null } = readAnswer(
        whoami,
        await this.#client.json({ method: 'GET', path: '/_matrix/client/v3/account/whoami', token }),
      );
      return { userId, serverName: userId.slice(userId.indexOf(':') + 1), deviceId };
    } catch (error) {
      if (error instanceof Failure && error.id === 'homeserver.unknown-token') return null;
      throw error;
    }
  }

  /** Whether an account exists; also proves that the token is a server admin's, else throws `homeserver.not-admin`. */
  async exists(userId: string, token: Secret): Promise<boolean> {
    return (await this.#account(userId, token)) !== null;
  }

  /** Whether a token is a server admin's. */
  async isAdmin({ userId, token }: { userId: string; token: Secret }): Promise<boolean> {
    try {
      await this.exists(userId, token);
      return true;
    } catch (error) {
      if (error instanceof Failure && error.id === 'homeserver.not-admin') return false;
      throw error;
    }
  }

  /**
   * A token of the bot's account on its one device. Makes the account when there is none: a server admin of type bot, with
   * a random password that is known to nobody. Throws `init.account-taken` when the name belongs to somebody else.
   */
  async obtainToken(authority: Authority, localpart: string, deviceId: string, pending: PendingPassword): Promise<Secret> {
    return authority.kind === 'admin-token'
      ? (await this.#byAdmin(authority.secret, localpart, deviceId)).token
      : this.#bySharedSecret(authority.secret, localpart, deviceId, pending);
  }

  /** Throws `init.account-taken` where an account is none that Steward has made, whose password may be set. */
  async requireBot(userId: string, token: Secret): Promise<void> {
    refuseOthers(userId, await this.#account(userId, token));
  }

  /** A token on another device of the bot's account, which gets another random password. Throws `init.account-taken`, and changes nothing then. */
  async renewDevice(userId: string, deviceId: string, token: Secret): Promise<{ token: Secret; password: Secret }> {
    return this.#byAdmin(token, userId.slice(1, userId.indexOf(':')), deviceId);
  }

  /**
   * POST /_matrix/client/v3/keys/device_signing/upload where there are keys already. Proven by the account's password; without
   * one by the leave of a server admin, which Synapse heeds where Matrix Authentication Service owns the accounts.
   */
  async replaceIdentity(
    userId: string,
    keys: Readonly<Record<string, unknown>>,
    { token, password }: { token: Secret; password: Secret | null },
  ): Promise<void> {
    const path = '/_synapse/admin/v1/users/{user}/_allow_cross_signing_replacement_without_uia';
    if (password === null) await this.#admin.json({ method: 'POST', path, params: { user: userId }, body: {}, token });
    const auth = { type: 'm.login.password', identifier: { type: 'm.id.user', user: userId }, password: password?.reveal() };
    const body = password === null ? keys : { ...keys, auth };
    await this.#client.json({ method: 'POST', path: '/_matrix/client/v3/keys/device_signing/upload', body, token });
  }

  /** Removes a device of an account, with its tokens. */
  async deleteDevice(userId: string, deviceId: string, token: Secret): Promise<void> {
    const path = '/_synapse/admin/v2/users/{user}/devices/{device}';
    await this.#admin.json({ method: 'DELETE', path, params: { user: userId, device: deviceId }, token });
  }

  /** Deactivates an account for good, as an admin or as itself. */
  async erase(userId: string, token: Secret): Promise<void> {
    const path = '/_synapse/admin/v1/deactivate/{user}';
    await this.#admin.json({ method: 'POST', path, params: { user: userId }, body: { erase: true }, token });
  }

  /** Exempts the account from rate limits, and reads that back. */
  async exempt(userId: string, token: Secret): Promise<void> {
    const request = { path: '/_synapse/admin/v1/users/{user}/override_ratelimit', params: { user: userId }, token } as const;
    const isExempt = async (): Promise<boolean> => {
      const limits = override.parse((await this.#admin.json({ method: 'GET', ...request })) ?? {});
      return limits.messages_per_second === 0 && limits.burst_count === 0;
    };
    if (await isExempt()) return;
    await this.#admin.json({ method: 'POST', ...request, body: { messages_per_second: 0, burst_count: 0 } });
    if (!(await isExempt())) throw new Failure('homeserver.not-done', { attempted: `exempt ${userId} from rate limits` });
  }

  async #byAdmin(token: Secret, localpart: string, deviceId: string): Promise<{ token: Secret; password: Secret }> {
    const admin = await this.identify(token);
    if (admin === null)
      throw new Failure('homeserver.unknown-token', {
        reason: 'the homeserver does not know the admin token',
        hint: 'Was it logged out? Take the token of a session that is still open.',
      });
    const userId = `@${localpart}:${admin.serverName}`;
    const found = await this.#account(userId, token).catch((error: unknown) => {
      if (!(error instanceof Failure) || error.id !== 'homeserver.not-admin') throw error;
      throw new Failure('homeserver.not-admin', {
        reason: `${admin.userId} is not a server admin`,
        hint: 'Give the token of a server admin.',
      });
    });
    refuseOthers(userId, found);
    const password = longSecret(this.#ids);
    const body = {
      password: password.reveal(),
      logout_devices: false,
      admin: true,
      ...(found === null ? { user_type: 'bot', displayname: displayName } : {}),
    };
    await this.#admin.json({ method: 'PUT', path: '/_synapse/admin/v2/users/{user}', params: { user: userId }, body, token });
    const made = await this.#account(userId, token);
    if (!made?.admin || made.user_type !== 'bot')
      throw new Failure('homeserver.not-done', {
        attempted: `make the account ${userId}`,
        reason: 'it is not there as a bot with the admin flag',
      });
    return { token: await this.#logIn(localpart, password, deviceId), password };
  }

  async #bySharedSecret(secret: Secret, localpart: string, deviceId: string, pending: PendingPassword): Promise<Secret> {
    const kept = await pending.read();
    const password = kept ?? longSecret(this.#ids);
    if (kept === null) await pending.keep(password);
    const path = registerPath;
    const { nonce } = readAnswer(z.object({ nonce: z.string() }), await this.#admin.json({ method: 'GET', path, token: null }));
    const body = {
      ...registrationBody(secret, { nonce, username: localpart, password, admin: true, userType: 'bot' }),
      displayname: displayName,
      device_id: deviceId,
      initial_device_display_name: displayName,
    };
    try {
      return new Secret(readAnswer(session, await this.#admin.json({ method: 'POST', path, body, token: null })).access_token);
    } catch (error) {
      // Made by an earlier run that ended before its token was stored.
      if (kept !== null && isRefusal(error, 'M_USER_IN_USE')) return this.#logIn(localpart, password, deviceId);
      if (kept === null && error instanceof Failure && error.id === 'homeserver.refused') await pending.drop();
      if (isRefusal(error, 'M_USER_IN_USE'))
        throw new Failure('init.account-taken', {
          reason: `an account named ${localpart} exists`,
          hint: 'Is it Steward’s own? Give `--admin-token-file FILE` to make a new token for it; otherwise `--bot-localpart NAME`.',
        });
      if (isRefusal(error, 'HMAC incorrect'))
        throw new Failure('homeserver.refused', {
          attempted: 'make the account',
          reason: 'the registration shared secret is wrong',
          hint: 'Take `registration_shared_secret` of homeserver.yaml.',
        });
      throw error;
    }
  }

  async #logIn(localpart: string, password: Secret, deviceId: string): Promise<Secret> {
    const path = '/_matrix/client/v3/login';
    const { flows } = readAnswer(
      z.object({ flows: z.array(z.object({ type: z.string() })) }),
      await this.#client.json({ method: 'GET', path, token: null }),
    );
    if (!flows.some(({ type }) => type === 'm.login.password')) throw new Failure('init.password-login-off');
    const body = {
      type: 'm.login.password',
      identifier: { type: 'm.id.user', user: localpart },
      password: password.reveal(),
      device_id: deviceId,
      initial_device_display_name: displayName,
    };
    return new Secret(readAnswer(session, await this.#client.json({ method: 'POST', path, body, token: null })).access_token);
  }

  async #account(userId: string, token: Secret): Promise<z.output<typeof account> | null> {
    const answer = await this.#admin.json({ method: 'GET', path: '/_synapse/admin/v2/users/{user}', params: { user: userId }, token });
    return answer === null ? null : readAnswer(account, answer);
  }
}

function refuseOthers(userId: string, found: z.output<typeof account> | null): void {
  if (found === null || (!found.deactivated && found.user_type === 'bot')) return;
  throw new Failure('init.account-taken', {
    reason: `${userId} exists and is ${found.deactivated ? 'deactivated' : 'not a bot account'}`,
  });
}

/** Whether the homeserver has refused a request with these words, such as an `errcode`. */
export function isRefusal(error: unknown, words: string): boolean {
  return error instanceof Failure && error.id === 'homeserver.refused' && error.reason.includes(words);
}

/** The answer in this shape, or `homeserver.bad-answer`. */
export function readAnswer<T extends z.ZodType>(shape: T, answer: unknown): z.output<T> {
  const parsed = shape.safeParse(answer);
  if (!parsed.success)
    throw new Failure('homeserver.bad-answer', { reason: `an answer lacks \`${parsed.error.issues[0]?.path.join('.') ?? ''}\`` });
  return parsed.data;
}
