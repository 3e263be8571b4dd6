import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openClient, type MatrixClient } from '../kit/client.ts';
import { openEncryptedClient, type EncryptedClient } from '../kit/encrypted-client.ts';
import type { Account, Synapse } from '../kit/synapse.ts';

/** Who lives on the demo's homeserver. */
const people = [
  { localpart: 'alice', displayname: 'Alice Archer', admin: true },
  { localpart: 'bob', displayname: 'Bob Baker', admin: true },
  { localpart: 'carol', displayname: 'Carol Carter' },
  { localpart: 'dave', displayname: 'Dave Dyer' },
  { localpart: 'erin', displayname: 'Erin Eames' },
];

/** Has an account, and has never used it. */
const neverSeen = 'erin';

export type Accounts = Record<string, Account>;

/** The accounts in a data folder, made when they are not there yet. */
export async function openAccounts(dir: string, synapse: Synapse): Promise<Accounts> {
  const path = join(dir, 'accounts.json');
  const kept = await readFile(path, 'utf8').catch(() => null);
  if (kept !== null) return JSON.parse(kept) as Accounts;
  const made = await Promise.all(people.map(async (person) => [person.localpart, await synapse.register(person)] as const));
  const accounts = Object.fromEntries(made);
  await Promise.all(
    made
      .filter(([name]) => name !== neverSeen)
      .map(([, account]) => openClient({ url: synapse.url, ...account }).request('GET', '/_matrix/client/v3/account/whoami')),
  );
  await writeFile(path, JSON.stringify(accounts, null, 2), { mode: 0o600 });
  return accounts;
}

/** The people of the demo in its room; where it is encrypted, at clients that encrypt. */
export class People {
  readonly #accounts: Accounts;
  readonly #url: string;
  readonly #roomId: string;
  readonly #keysDir: string | null;
  readonly #seated = new Map<string, Promise<MatrixClient>>();
  readonly #secure: EncryptedClient[] = [];

  /** @param keysDir where their keys lie between runs; null where there is no other run */
  constructor(accounts: Accounts, url: string, roomId: string, keysDir: string | null) {
    this.#accounts = accounts;
    this.#url = url;
    this.#roomId = roomId;
    this.#keysDir = keysDir;
  }

  /** Somebody who sits in the room; who does not yet is invited by alice. Errors: there is no such account. */
  seated(name: string): Promise<MatrixClient> {
    const known = this.#seated.get(name);
    if (known !== undefined) return known;
    const client = this.#seat(name);
    this.#seated.set(name, client);
    return client;
  }

  /** Keeps the keys of everybody, and ends their clients. */
  async close(): Promise<void> {
    for (const client of this.#secure) {
      await client.keepKeys();
      client.close();
    }
  }

  async #seat(name: string): Promise<MatrixClient> {
    const account = this.#accounts[name];
    if (account === undefined) throw new Error(`there is no ${name} here; there are ${Object.keys(this.#accounts).join(', ')}`);
    const client = openClient({ url: this.#url, ...account });
    const joined = await client.join(this.#roomId).then(
      () => true,
      () => false,
    );
    if (joined) return this.#atItsClient(name, client, account);
    if (name === 'alice') throw new Error('alice cannot join the room');
    await (await this.seated('alice')).invite(this.#roomId, client.userId);
    await client.join(this.#roomId);
    return this.#atItsClient(name, client, account);
  }

  async #atItsClient(name: string, client: MatrixClient, account: Account): Promise<MatrixClient> {
    const isEncrypted = await client.getState(this.#roomId, 'm.room.encryption').then(
      () => true,
      () => false,
    );
    if (!isEncrypted) return client;
    const keysPath = this.#keysDir === null ? undefined : join(this.#keysDir, `keys-${name}.json`);
    const secure = await openEncryptedClient({ url: this.#url, ...account, ...(keysPath === undefined ? {} : { keysPath }) });
    this.#secure.push(secure);
    return secure;
  }
}
