import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse, stringify } from 'yaml';
import { openClient, type MatrixClient } from '../../kit/client.ts';
import { startMas, type Mas } from '../../kit/mas.ts';
import { sql } from '../../kit/postgres.ts';
import { freePort, startChild, waitUntilReady, type Child } from '../../kit/process.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { until } from './support/until.ts';

/** Restores of a Synapse whose accounts are Matrix Authentication Service's, to a time when Steward had no account there. */

jest.setTimeout(120_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');
const botId = '@steward:example.org';

let world: RestoreWorld;
let mas: Mas;
let alice: MatrixClient;
let daemon: Child | null = null;
let port: number;
let roomId: string;

beforeAll(async () => {
  mas = await startMas();
  world = await RestoreWorld.open();
  await world.stop();
  const config = { ...parse(readFileSync(world.synapse.configPath, 'utf8')), ...mas.synapseConfig };
  writeFileSync(world.synapse.configPath, stringify(config));
  await world.start();
  const url = world.synapse.url;
  alice = openClient({ url, userId: '@alice:example.org', accessToken: await issue('alice', 'PHONE') });
  writeFileSync(join(world.dir, 'token'), await issue('alice', 'SHELL'), { mode: 0o600 });
  // Made by alice's account, before there was a bot.
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  world.closeCore();
  writeFileSync(join(world.dir, 'bot-token'), await issue('steward', 'STEWARD'), { mode: 0o600 });
  await issue('carol', 'LAPTOP');
  roomId = await alice.createRoom({
    preset: 'private_chat',
    invite: [botId],
    power_level_content_override: { users: { [botId]: 100 } },
  });
  port = await freePort();
  world.configure({
    homeserver: { url, server_name: 'example.org', user_id: botId, access_token_file: 'bot-token' },
    room: { id: roomId },
    people: { alice: { user_ids: ['@alice:example.org'], roles: ['owner'] } },
    http: { listen: `127.0.0.1:${port}` },
  });
  const logPath = join(world.dir, 'steward.log');
  daemon = await startChild({
    command: [process.execPath, '--disable-warning=ExperimentalWarning', main, 'run', '--config', world.configPath],
    logPath,
    cwd: world.dir,
  });
  await waitUntilReady('Steward', daemon, logPath, ready, 20_000);
}, 180_000);

afterAll(async () => {
  await daemon?.stop(20_000);
  await world.dispose();
  await mas.close();
});

const issue = (localpart: string, deviceId: string): Promise<string> =>
  mas.issue(world.synapse.url, { localpart, deviceId, admin: localpart !== 'carol' });

/** A connection that was kept open may have ended while this process waited for a command. */
const ready = (): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/readyz`).then(
    ({ status }) => status === 200,
    () => false,
  );

/** Beside this process: Matrix Authentication Service answers meanwhile. */
const shell = (line: string): Promise<{ status: number; out: string }> =>
  new Promise((done) => {
    const words = ['--disable-warning=ExperimentalWarning', main, ...line.split(' '), '--config', world.configPath];
    const child = execFile(process.execPath, words, (_error, out, err) => {
      done({ status: child.exitCode ?? -1, out: out + err });
    });
  });

const live = (query: string): Promise<string> => sql({ ...world.postgres.superuser, name: 'synapse' }, query);

async function helpIn(roomId: string): Promise<void> {
  const asked = await alice.send(roomId, '!help');
  await until(
    async () =>
      (await alice.messages(roomId)).some(
        ({ sender, content }) =>
          sender === botId &&
          (content['m.relates_to'] as { 'm.in_reply_to'?: { event_id?: string } } | undefined)?.['m.in_reply_to']?.event_id === asked,
      ),
    20_000,
    'an answer to !help',
  );
}

test('a good restore stands, and Steward has its account, device and room again, under the same token', async () => {
  const token = readFileSync(join(world.dir, 'bot-token'), 'utf8');
  expect(await shell('restore prepare latest --yes')).toMatchObject({ status: 0 });

  const cutover = await shell('restore cutover latest --break-glass test');

  expect(cutover).toMatchObject({
    status: 0,
    out: expect.stringContaining('its account and device, under the same token, a new admin room'),
  });
  expect(cutover.out).toContain('no login and no write were tried');
  expect(cutover.out).toContain('mas-cli manage provision-all-users');
  expect(readFileSync(join(world.dir, 'bot-token'), 'utf8')).toBe(token);
  expect(await live(`SELECT device_id FROM devices WHERE user_id = '${botId}'`)).toBe('STEWARD\n');
  const invited = await until(
    async () => {
      // A connection of before the restart ends here.
      const sync = alice.request<{ rooms?: { invite?: Record<string, unknown> } }>('GET', '/_matrix/client/v3/sync?timeout=0');
      return Object.keys((await sync.catch(() => null))?.rooms?.invite ?? {})[0];
    },
    20_000,
    'an invitation',
  );
  await alice.join(invited);
  await until(ready, 30_000, 'Steward is ready');
  await helpIn(invited);
  const doctor = await shell('server doctor');
  for (const line of ['token', 'admin', 'rate-limit']) expect(doctor.out).toContain(`🟢 ${line}:`);
});

test('what it tells people to type brings back the accounts and devices of since', async () => {
  expect(await live(`SELECT count(*) FROM users WHERE name = '@carol:example.org'`)).toBe('0\n');
  await mas.provisionAll(world.synapse.url);
  expect(await live(`SELECT device_id FROM devices WHERE user_id = '@carol:example.org'`)).toBe('LAPTOP\n');
});

test('and after the undo is back in its old room', async () => {
  expect(await shell('restore undo latest --yes --break-glass test')).toMatchObject({ status: 0 });
  await until(ready, 30_000, 'Steward is ready');
  await helpIn(roomId);
  expect((await shell('server doctor')).out).toContain('🟢 token:');
});

test('with a token that nobody knows says what to type, and undoes nothing', async () => {
  writeFileSync(join(world.dir, 'bot-token'), 'mct_unknown', { mode: 0o600 });
  expect(await shell('server reload')).toMatchObject({ status: 0 });

  const cutover = await shell('restore cutover latest --break-glass test');

  expect(cutover).toMatchObject({ status: 0, out: expect.stringContaining('not attached') });
  expect(cutover.out).toContain('mas-cli manage issue-compatibility-token steward --yes-i-want-to-grant-synapse-admin-privileges');
  expect((await shell('restore list')).out).toContain('live');
});
