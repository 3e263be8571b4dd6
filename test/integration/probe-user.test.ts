import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { systemClock, systemIds } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { ProbeUser } from '../../src/homeserver/probe-user.ts';

/** A real Synapse whose accounts are Matrix Authentication Service's; of that, only what says whose a token is. */

jest.setTimeout(120_000);

let dir: string;
let synapse: Synapse;
let mas: Server;
let alice: Account;
/** What the token may do, beside being a client. */
let scope = '';

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'probe-'));
  const before = await startSynapse({ dir, serverName: 'example.org' });
  alice = await before.register({ localpart: 'alice', admin: true });
  await before.dispose();
  mas = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ active: true, scope: `urn:matrix:client:api:* ${scope}`, username: 'alice', sub: 'alice' }));
  });
  await new Promise<void>((resolve) => mas.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(mas.address() as AddressInfo).port}/`;
  synapse = await startSynapse({
    dir,
    serverName: 'example.org',
    config: { matrix_authentication_service: { enabled: true, endpoint, secret: 'shared' }, password_config: { enabled: false } },
  });
});

afterAll(async () => {
  await synapse.dispose();
  mas.closeAllConnections();
  await new Promise((resolve) => mas.close(resolve));
  rmSync(dir, { recursive: true, force: true });
});

test.each(['urn:synapse:admin:*', ''])(
  'no account can be made: Steward’s own writes, why is told, and nothing is to be erased (%s)',
  async (may) => {
    scope = may;
    const probe = new ProbeUser({
      url: synapse.url,
      adminUrl: synapse.url,
      serverName: 'example.org',
      own: { userId: alice.userId, token: new Secret(`token${may}`) },
      registrationSecret: () => Promise.resolve(new Secret(synapse.registrationSharedSecret)),
      clock: systemClock,
      ids: systemIds,
    });
    const name = probe.newName();
    expect(await probe.prove(name)).toBe(
      'Steward’s own account could write and read; no new account was tried: the homeserver makes no accounts itself, as where Matrix Authentication Service has them',
    );
    await probe.erase(name);
    const database = new DatabaseSync(synapse.databasePath ?? '', { readOnly: true });
    expect(database.prepare('SELECT name FROM users').all()).toEqual([{ name: alice.userId }]);
    database.close();
  },
);
