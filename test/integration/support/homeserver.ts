import { DatabaseSync } from 'node:sqlite';
import { HttpError, login, openClient, type MatrixClient } from '../../../kit/client.ts';
import { openEncryptedClient, type EncryptedClient } from '../../../kit/encrypted-client.ts';
import type { Database } from '../../../kit/postgres.ts';
import { startProxy, type Proxy } from '../../../kit/proxy.ts';
import { startSynapse, type Account, type Synapse } from '../../../kit/synapse.ts';
import type { Timeline } from '../../../kit/timeline.ts';
import { Steward, type StewardOptions } from './steward.ts';

/** A human at a Matrix client. */
export interface Person {
  client: MatrixClient;
  timeline: Timeline;
}

/** The same human at a client that encrypts, on a device of its own. */
export interface SecurePerson extends Person {
  client: EncryptedClient;
}

/** An account as Synapse's own Admin API tells it to alice. */
export interface SeenAccount {
  name: string;
  displayname: string | null;
  admin: boolean;
  deactivated: boolean;
  threepids: { medium: string; address: string }[];
}

/** One Synapse with the server admins alice and bob and the ordinary account carol, a proxy before it, and any number of Stewards. */
export class Homeserver {
  readonly synapse: Synapse;
  /** Steward's way to Synapse, where a test wants to see or break it. */
  readonly proxy: Proxy;
  readonly alice: Person;
  readonly bob: Person;
  readonly carol: Person;
  readonly #stewards: Steward[] = [];
  readonly #accounts: Map<string, Account>;
  readonly #secure = new Map<string, Promise<SecurePerson>>();
  readonly #opened: EncryptedClient[] = [];

  private constructor(
    synapse: Synapse,
    proxy: Proxy,
    [alice, bob, carol]: readonly [Person, Person, Person],
    accounts: Map<string, Account>,
  ) {
    this.#accounts = accounts;
    this.synapse = synapse;
    this.proxy = proxy;
    this.alice = alice;
    this.bob = bob;
    this.carol = carol;
  }

  /** @param config merged over homeserver.yaml @param postgres its database; SQLite when left out */
  static async start(config: Record<string, unknown> = {}, postgres?: Database): Promise<Homeserver> {
    const synapse = await startSynapse({ config, ...(postgres === undefined ? {} : { database: { postgres } }) });
    const accounts = new Map<string, Account>();
    const person = async (localpart: string, admin: boolean): Promise<Person> => {
      const account = await synapse.register({ localpart, admin });
      accounts.set(localpart, account);
      const client = openClient({ ...account, url: synapse.url });
      return { client, timeline: await client.timeline() };
    };
    const people = [await person('alice', true), await person('bob', true), await person('carol', false)] as const;
    return new Homeserver(synapse, await startProxy(synapse.url), people, accounts);
  }

  get serverName(): string {
    return this.synapse.serverName;
  }

  userId(localpart: string): string {
    return `@${localpart}:${this.serverName}`;
  }

  /** Alice, bob or carol at a client that encrypts, with a cross-signed device; the same one each time. */
  async secure(localpart: string): Promise<SecurePerson> {
    const known = this.#secure.get(localpart);
    if (known !== undefined) return known;
    const opening = this.secureDevice(localpart).then(async (client) => ({ client, timeline: await client.timeline() }));
    this.#secure.set(localpart, opening);
    return opening;
  }

  /** Another device of an account, at a client that encrypts. */
  async secureDevice(localpart: string, { signed = true }: { signed?: boolean } = {}): Promise<EncryptedClient> {
    const account = this.#accounts.get(localpart);
    if (account === undefined) throw new Error(`there is no ${localpart}`);
    const client = await openEncryptedClient({ ...account, url: this.synapse.url, signed });
    this.#opened.push(client);
    return client;
  }

  /** An admin room with alice, bob, carol and a bot of its own; Steward is installed in it, and runs unless told otherwise. */
  async steward(options: StewardOptions = {}): Promise<Steward> {
    const steward = await Steward.install(this, options);
    this.#stewards.push(steward);
    if (options.start !== false) await steward.start();
    return steward;
  }

  /** The account as it is now, or null. */
  async account(localpart: string): Promise<SeenAccount | null> {
    try {
      return await this.alice.client.request<SeenAccount>('GET', `/_synapse/admin/v2/users/${encodeURIComponent(this.userId(localpart))}`);
    } catch (error) {
      if (error instanceof HttpError && error.status === 404) return null;
      throw error;
    }
  }

  /** Makes an ordinary account. */
  async register(localpart: string, displayname?: string): Promise<Account> {
    const account = await this.synapse.register({ localpart, ...(displayname === undefined ? {} : { displayname }) });
    this.#accounts.set(localpart, account);
    return account;
  }

  async deactivate(localpart: string): Promise<void> {
    await this.alice.client.request('POST', `/_synapse/admin/v1/deactivate/${encodeURIComponent(this.userId(localpart))}`, {
      erase: false,
    });
  }

  /** Whether a password logs in. */
  async logsIn(localpart: string, password: string): Promise<boolean> {
    try {
      const session = await login(this.synapse.url, localpart, password);
      await session.request('POST', '/_matrix/client/v3/logout', {});
      return true;
    } catch (error) {
      if (error instanceof HttpError && error.status === 403) return false;
      throw error;
    }
  }

  /** Rows of Synapse's own database. */
  rows(sql: string, ...values: string[]): Record<string, unknown>[] {
    const database = new DatabaseSync(this.synapse.databasePath ?? '', { readOnly: true, timeout: 5000 });
    try {
      return database.prepare(sql).all(...values);
    } finally {
      database.close();
    }
  }

  async dispose(): Promise<void> {
    const secure = await Promise.all(this.#secure.values());
    for (const { timeline } of [this.alice, this.bob, this.carol, ...secure]) timeline.stop();
    for (const client of this.#opened) client.close();
    for (const steward of this.#stewards) await steward.dispose();
    await this.proxy.stop();
    await this.synapse.dispose();
  }
}
