import { createHmac } from 'node:crypto';
import { z } from 'zod';
import type { Clock, Ids } from '../clock.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { FailureId } from '../failures/table.ts';
import { isRefusal, readAnswer } from './bootstrap.ts';
import { registerPath, registrationBody } from './registration.ts';
import { SynapseHttp, type SynapseRequest } from './synapse/http.ts';

export interface ProbeUserOptions {
  url: string;
  adminUrl: string;
  serverName: string;
  /** Steward's own account, for what a new one cannot do. */
  own: { userId: string; token: Secret };
  /** What makes accounts; null where the homeserver has none. */
  registrationSecret: () => Promise<Secret | null>;
  clock: Clock;
  ids: Ids;
}

/** How the names of accounts begin that are made for one verification. */
const probePrefix = 'steward-probe-';

/** Milliseconds that each answer may take. */
const timeout = 10_000;
const dataType = 'org.steward.probe';
/** A homeserver that says this is well, and set up so that it makes no such account. */
const notHere: readonly FailureId[] = ['homeserver.refused', 'homeserver.no-endpoint', 'homeserver.rate-limited'];

const session = z.object({ access_token: z.string() });

/**
 * An account that is made to see whether a homeserver really lets people log in and write, and is erased after it. Synapse keeps
 * the name of an erased account, and nothing else of it. Failures are of the family `homeserver`.
 */
export class ProbeUser {
  readonly #options: ProbeUserOptions;
  readonly #client: SynapseHttp;
  readonly #admin: SynapseHttp;

  constructor(options: ProbeUserOptions) {
    this.#options = options;
    const http = (baseUrl: string): SynapseHttp => new SynapseHttp({ baseUrl, token: new Secret(''), clock: options.clock });
    [this.#client, this.#admin] = [http(options.url), http(options.adminUrl)];
  }

  /** A name that nobody has. */
  newName(): string {
    return `${probePrefix}${this.#options.ids.short(10)}`;
  }

  /**
   * Makes the account, logs in, writes and reads back; where none can be made Steward's own account writes. May be called again
   * with the same name.
   *
   * @returns what was proven, in words
   * @throws Failure where the homeserver cannot do it now
   */
  async prove(name: string): Promise<string> {
    const { own, registrationSecret } = this.#options;
    let reason = 'the homeserver has no registration_shared_secret';
    const secret = await registrationSecret();
    if (secret !== null) {
      try {
        await this.#write(this.#idOf(name), await this.#enter(name, secret));
        return 'a new account could log in, write and read';
      } catch (error) {
        reason = reasonWhyNotHere(error);
      }
    }
    try {
      await this.#write(own.userId, own.token);
      return `Steward’s own account could write and read; no new account was tried: ${reason}`;
    } catch (error) {
      if (error instanceof Failure && error.id === 'homeserver.unknown-token')
        return `the homeserver answers; no login and no write were tried: ${reason}`;
      throw error;
    }
  }

  /** Erases the account; nothing where there is none, or it is erased already. */
  async erase(name: string): Promise<void> {
    const { own, registrationSecret } = this.#options;
    const path = '/_synapse/admin/v1/deactivate/{user}';
    const body = { erase: true };
    try {
      await this.#admin.json({ method: 'POST', path, params: { user: this.#idOf(name) }, body, token: own.token, timeout });
      return;
    } catch (error) {
      // On data that are older than Steward's token.
      if (!(error instanceof Failure) || !['homeserver.unknown-token', 'homeserver.not-admin'].includes(error.id)) throw error;
    }
    const secret = await registrationSecret();
    if (secret === null) return;
    const password = passwordOf(name, secret);
    const token = await this.#logIn(name, password).catch((error: unknown) => {
      // Nobody of this name can log in.
      if (error instanceof Failure && error.id === 'homeserver.refused') return null;
      throw error;
    });
    if (token === null) return;
    const auth = { type: 'm.login.password', identifier: { type: 'm.id.user', user: name }, password: password.reveal() };
    await this.#ask({ method: 'POST', path: '/_matrix/client/v3/account/deactivate', body: { ...body, auth }, token });
  }

  /** @returns a token of a login, or of the registration where there is no login by password */
  async #enter(name: string, secret: Secret): Promise<Secret> {
    const password = passwordOf(name, secret);
    const path = registerPath;
    const { nonce } = readAnswer(z.object({ nonce: z.string() }), await this.#admin.json({ method: 'GET', path, token: null, timeout }));
    const body = registrationBody(secret, { nonce, username: name, password, admin: false, userType: 'bot' });
    let made: Secret | null = null;
    try {
      made = new Secret(readAnswer(session, await this.#admin.json({ method: 'POST', path, body, token: null, timeout })).access_token);
    } catch (error) {
      // Made by a try whose answer was lost.
      if (!isRefusal(error, 'M_USER_IN_USE')) throw error;
    }
    const token = (await this.#logIn(name, password)) ?? made;
    if (token === null) throw new Failure('homeserver.refused', { attempted: `log in ${name}`, reason: 'there is no login by password' });
    return token;
  }

  /** Null where there is no login by password. */
  async #logIn(name: string, password: Secret): Promise<Secret | null> {
    const path = '/_matrix/client/v3/login';
    const flow = z.object({ flows: z.array(z.object({ type: z.string() })) });
    const offered = await this.#ask({ method: 'GET', path, token: null }).catch((error: unknown) => {
      // Where Matrix Authentication Service has the accounts.
      if (error instanceof Failure && error.id === 'homeserver.no-endpoint') return { flows: [] };
      throw error;
    });
    const { flows } = readAnswer(flow, offered);
    if (!flows.some(({ type }) => type === 'm.login.password')) return null;
    const body = { type: 'm.login.password', identifier: { type: 'm.id.user', user: name }, password: password.reveal() };
    return new Secret(readAnswer(session, await this.#ask({ method: 'POST', path, body, token: null })).access_token);
  }

  async #write(userId: string, token: Secret): Promise<void> {
    const { ids } = this.#options;
    const request = {
      ...{ path: '/_matrix/client/v3/user/{user}/account_data/{type}', params: { user: userId, type: dataType }, token },
    } as const;
    const said = ids.short(16);
    await this.#ask({ method: 'PUT', ...request, body: { said } });
    const back = (await this.#ask({ method: 'GET', ...request })) as { said?: unknown } | null;
    if (back?.said !== said)
      throw new Failure('homeserver.not-done', { attempted: 'write account data', reason: 'what is read back is not what was written' });
    await this.#ask({ method: 'PUT', ...request, body: {} });
  }

  async #ask(request: SynapseRequest): Promise<unknown> {
    return this.#client.json({ ...request, timeout });
  }

  #idOf(name: string): string {
    return `@${name}:${this.#options.serverName}`;
  }
}

/** Never kept: whoever has the secret can make it again, and may make any account. */
function passwordOf(name: string, secret: Secret): Secret {
  return new Secret(createHmac('sha256', secret.reveal()).update(name).digest('base64url'));
}

/** @throws what says that the homeserver is not well */
function reasonWhyNotHere(error: unknown): string {
  if (error instanceof Failure && error.id === 'homeserver.no-endpoint')
    return 'the homeserver makes no accounts itself, as where Matrix Authentication Service has them';
  if (error instanceof Failure && notHere.includes(error.id)) return error.reason;
  throw error;
}
