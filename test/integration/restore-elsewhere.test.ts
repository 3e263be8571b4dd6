import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { sql } from '../../kit/postgres.ts';
import { run } from '../../kit/process.ts';
import { synapseControl, type SynapseControl } from '../../kit/synapse-control.ts';
import { startSynapse, type Synapse } from '../../kit/synapse.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { openCore, type Core } from '../../src/core.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { runLine } from './support/core-shell.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { until } from './support/until.ts';

/** A new machine: a Synapse that was just installed, an empty database, a Steward that knows nothing; and the old backups with a key. */

jest.setTimeout(120_000);

let world: RestoreWorld;
let fresh: Synapse;
let control: SynapseControl;
let core: Core | null = null;
let signer: string;
let then: string;
let media: string;

beforeAll(async () => {
  world = await RestoreWorld.open();
  media = await world.upload('kept');
  then = await world.settledOracle();
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  const said = JSON.stringify((await world.steward('backup info latest')).parts);
  signer = /"signed by",\[\{"code":"([\w-]{43})"/.exec(said)?.[1] ?? '';
  world.closeCore();
  // The old machine is gone.
  await world.stop();
  const database = await world.postgres.createDatabase({ name: 'fresh', owner: 'synapse' });
  const home = join(world.dir, 'new');
  fresh = await startSynapse({
    dir: home,
    database: { postgres: database },
    serverName: 'example.org',
    config: { pid_file: join(home, 'homeserver.pid') },
  });
  await fresh.stop();
  await sql(world.postgres.superuser, 'DROP DATABASE fresh');
  await world.postgres.createDatabase({ name: 'fresh', owner: 'synapse' }).then(({ password }) => {
    const config = readFileSync(fresh.configPath, 'utf8');
    writeFileSync(fresh.configPath, config.replace(database.password, password));
  });
  control = await synapseControl(home);
  writeFileSync(
    join(world.dir, 'new.yaml'),
    stringify({
      data_dir: 'new-data',
      homeserver: { url: fresh.url, server_name: 'example.org', user_id: world.alice.userId, access_token_file: 'token' },
      stack: {
        homeserver_config: [fresh.configPath],
        database: { user: 'steward', password_file: 'database-password' },
        components: { synapse: control },
      },
      backup: { destinations: { disk: { directory: world.disk } }, keys: { recipients: [world.recipient('admin')] } },
    }),
  );
  core = await openCore(new Reloadable(join(world.dir, 'new.yaml'), {}), silentLog);
}, 180_000);

afterAll(async () => {
  core?.close();
  await run(control.stop as [string, ...string[]]).catch(() => '');
  await until(() => world.run(control.status).status !== 0, 30_000, 'Synapse is stopped');
  await fresh.dispose();
  await world.dispose();
});

async function steward(words: string[], secrets: Record<string, string> = {}) {
  if (core === null) throw new Error('no core');
  return runLine(core, words, { secrets, breakGlass: 'test' });
}

test('is the old server again: accounts, sessions, media and signing key', async () => {
  const id =
    readdirSync(world.disk)
      .filter((name) => /^\d/.test(name))
      .at(-1) ?? '';
  const identity = readFileSync(join(world.dir, 'admin.key'), 'utf8');
  // Whose it is must be said: this Steward has signed nothing.
  expect(await steward(['restore', 'prepare', id, '--yes'], { identity })).toMatchObject({ errorId: 'backup.not-found' });
  const other = Buffer.alloc(32, 7).toString('base64url');
  expect(await steward(['restore', 'prepare', id, '--yes', '--signer', other], { identity })).toMatchObject({ errorId: 'backup.foreign' });
  const prepared = await steward(['restore', 'prepare', id, '--yes', '--signer', signer], { identity });
  expect({ ...prepared, parts: JSON.stringify(prepared.parts) }).toMatchObject({ outcome: 'done', result: { media: 1 } });
  expect(await steward(['restore', 'cutover', 'latest'])).toMatchObject({ outcome: 'done' });
  expect(await world.oracle('fresh')).toBe(then);
  expect(readFileSync(join(fresh.dir, 'signing.key'), 'utf8')).toBe(readFileSync(join(world.synapse.dir, 'signing.key'), 'utf8'));
  const content = join(fresh.mediaPath, 'local_content', media.slice(0, 2), media.slice(2, 4), media.slice(4));
  expect(readFileSync(content, 'utf8')).toBe('kept');
  const who = await fetch(`${fresh.url}/_matrix/client/v3/account/whoami`, {
    headers: { authorization: `Bearer ${world.alice.accessToken}` },
  });
  expect(await who.json()).toMatchObject({ user_id: '@alice:example.org' });
  expect(await steward(['restore', 'finish', 'latest'])).toMatchObject({ outcome: 'done' });
});
