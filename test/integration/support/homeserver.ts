import { DatabaseSync } from 'node:sqlite';
import { HttpError, login, openClient, type MatrixClient } from '../../../kit/client.ts';
import { startProxy, type Proxy } from '../../../kit/proxy.ts';
import { startSynapse, type Account, type Synapse } from '../../../kit/synapse.ts';
import type { Timeline } from '../../../kit/timeline.ts';
import { Steward, type StewardOptions } from './steward.ts';

/** A human at a Matrix client. */
export interface Person {
  client: MatrixClient;
  timeline: Timeline;
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

  private constructor(synapse: Synapse, proxy: Proxy, alice: Person, bob: Person, carol: Person) {
    this.synapse = synapse;
    this.proxy = proxy;
    this.alice = alice;
    this.bob = bob;
    this.carol = carol;
  }

  static async start(): Promise<Homeserver> {
    const synapse = await startSynapse();
    const person = async (localpart: string, admin: boolean): Promise<Person> => {
      const client = openClient({ ...(await synapse.register({ localpart, admin })), url: synapse.url });
      return { client, timeline: await client.timeline() };
    };
    const [alice, bob, carol] = [await person('alice', true), await person('bob', true), await person('carol', false)];
    return new Homeserver(synapse, await startProxy(synapse.url), alice, bob, carol);
  }

  get serverName(): string {
    return this.synapse.serverName;
  }

  userId(localpart: string): string {
    return `@${localpart}:${this.serverName}`;
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
    return this.synapse.register({ localpart, ...(displayname === undefined ? {} : { displayname }) });
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
    for (const { timeline } of [this.alice, this.bob, this.carol]) timeline.stop();
    for (const steward of this.#stewards) await steward.dispose();
    await this.proxy.stop();
    await this.synapse.dispose();
  }
}
