import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { sql } from '../../kit/postgres.ts';
import { synapseControl, type SynapseControl } from '../../kit/synapse-control.ts';
import { startSynapse, type Synapse } from '../../kit/synapse.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { openCore, type Core } from '../../src/core.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { runLine } from './support/core-shell.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { until } from './support/until.ts';

/** A second server of the same name, to look at a backup: it must have no key of the real one, and no way out. */

jest.setTimeout(300_000);

let world: RestoreWorld;
let other: Server;
/** How often somebody has come to the other server, which is a homeserver, a mail server and whatever one likes. */
let visits = 0;
let machine: Synapse;
let control: SynapseControl;
let core: Core | null = null;
let signer: string;
let backup: string;
let then: string;

beforeAll(async () => {
  other = createServer((socket) => {
    visits += 1;
    socket.destroy();
  });
  other.unref();
  await new Promise((resolve) => other.listen(0, '127.0.0.1', () => resolve(null)));
  world = await RestoreWorld.open();
  then = await world.settledOracle();
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  signer = /"signed by",\[\{"code":"([\w-]{43})"/.exec(JSON.stringify((await world.steward('backup info latest')).parts))?.[1] ?? '';
  backup = readdirSync(world.disk).find((name) => /^\d/.test(name)) ?? '';
  const home = join(world.dir, 'clone');
  const port = (other.address() as AddressInfo).port;
  machine = await startSynapse({
    dir: home,
    database: { postgres: await world.postgres.createDatabase({ name: 'clone', owner: 'synapse_clone' }) },
    serverName: 'example.org',
    config: {
      pid_file: join(home, 'homeserver.pid'),
      // Open to the other server, by all ways that there are.
      federation_domain_whitelist: [`127.0.0.1:${port}`],
      ip_range_blacklist: [],
      federation_ip_range_blacklist: [],
      email: { smtp_host: '127.0.0.1', smtp_port: port, notif_from: 'a@example.org' },
    },
  });
  control = await synapseControl(home);
  await sql(world.postgres.superuser, 'GRANT synapse_clone TO steward');
  writeFileSync(
    join(world.dir, 'clone.yaml'),
    stringify({
      data_dir: 'clone-data',
      homeserver: { url: machine.url, server_name: 'example.org', user_id: world.alice.userId, access_token_file: 'token' },
      stack: {
        homeserver_config: [machine.configPath],
        database: { user: 'steward', password_file: 'database-password' },
        components: { synapse: control },
      },
      backup: { destinations: { disk: { directory: world.disk } }, keys: { recipients: [world.recipient('admin')] } },
    }),
  );
}, 400_000);

afterAll(async () => {
  core?.close();
  world.run(control.stop);
  await until(() => world.run(control.status).status !== 0, 30_000, 'the clone is stopped');
  await machine.dispose();
  await world.dispose();
  other.close();
});

async function steward(...words: string[]) {
  core ??= await openCore(new Reloadable(join(world.dir, 'clone.yaml'), {}), silentLog);
  const identity = readFileSync(join(world.dir, 'admin.key'), 'utf8');
  return runLine(core, words, { secrets: { identity }, breakGlass: 'test' });
}

const prepare = (...words: string[]) => steward('restore', 'prepare', backup, '--yes', '--signer', signer, '--as-clone', ...words);

/** Has it look for a room of the other server. */
async function reachOut(token: string): Promise<number> {
  const alias = encodeURIComponent(`#room:127.0.0.1:${(other.address() as AddressInfo).port}`);
  const answer = await fetch(`${machine.url}/_matrix/client/v3/directory/room/${alias}`, {
    headers: { authorization: `Bearer ${token}`, connection: 'close' },
  });
  return answer.status;
}

test('goes only where nobody has an account, and takes nothing of the real server’s own', async () => {
  const person = await machine.register({ localpart: 'somebody' });
  await reachOut(person.accessToken);
  // So it would be seen.
  expect(visits).toBeGreaterThan(0);
  const refused = await prepare();
  expect(refused).toMatchObject({ outcome: 'refused', errorId: 'restore.refused' });
  expect(JSON.stringify(refused.parts)).toContain('this one has 1 accounts');
  expect(await prepare('--only', 'database,keys')).toMatchObject({ errorId: 'usage.invalid-value' });
  // Nor beside the people of the real one.
  expect(await world.steward('restore prepare latest --yes --as-clone')).toMatchObject({ errorId: 'restore.refused' });
  expect(await world.databases()).toEqual(['synapse']);
});

test('starts with a fresh key and no way out, on the data of the backup', async () => {
  await machine.stop();
  await sql(world.postgres.superuser, 'DROP DATABASE clone WITH (FORCE)');
  const { password } = await world.postgres.createDatabase({ name: 'clone', owner: 'synapse_clone' });
  const config = parse(readFileSync(machine.configPath, 'utf8')) as { database: { args: { password: string } } };
  config.database.args.password = password;
  writeFileSync(machine.configPath, stringify(config));
  const ownKey = readFileSync(join(machine.dir, 'signing.key'), 'utf8');
  const prepared = await prepare();
  expect({ ...prepared, parts: JSON.stringify(prepared.parts) }).toMatchObject({
    outcome: 'done',
    parts: expect.stringContaining('it is a clone'),
    result: { parts: ['database', 'media'], files: [join(machine.dir, 'signing.key'), machine.configPath] },
  });
  const before = visits;
  const cutover = await steward('restore', 'cutover', 'latest');
  expect({ ...cutover, parts: JSON.stringify(cutover.parts) }).toMatchObject({ outcome: 'done' });

  const key = readFileSync(join(machine.dir, 'signing.key'), 'utf8');
  expect(key).toMatch(/^ed25519 a_[0-9a-f]{6} [A-Za-z0-9+/]{43}\n$/);
  const real = readFileSync(join(world.synapse.dir, 'signing.key'), 'utf8');
  expect([real, ownKey]).not.toContain(key);
  const shown = (await (await fetch(`${machine.url}/_matrix/key/v2/server`, { headers: { connection: 'close' } })).json()) as object;
  expect(JSON.stringify(shown)).not.toContain(real.split(' ')[1] ?? '');
  const started = parse(readFileSync(machine.configPath, 'utf8')) as Record<string, unknown>;
  expect(started).toMatchObject({ federation_domain_whitelist: [], start_pushers: false, send_federation: false, trusted_key_servers: [] });
  expect(started).not.toHaveProperty('email');

  expect(await world.oracle('clone')).toBe(then);
  expect(await reachOut(world.alice.accessToken)).toBeGreaterThanOrEqual(400);
  expect(visits).toBe(before);

  // The way back opens what was closed.
  expect(await steward('restore', 'undo', 'latest', '--yes')).toMatchObject({ outcome: 'done' });
  expect(readFileSync(join(machine.dir, 'signing.key'), 'utf8')).toBe(ownKey);
  expect(parse(readFileSync(machine.configPath, 'utf8'))).toEqual(config);
});
