import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse, stringify } from 'yaml';
import { login, openClient, type MatrixClient } from '../../kit/client.ts';
import { freePort, startChild, waitUntilReady, type Child } from '../../kit/process.ts';
import { systemClock, systemIds } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { Bootstrap } from '../../src/homeserver/bootstrap.ts';
import { reattach } from '../../src/homeserver/reattach.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { until } from './support/until.ts';

/** Steward after a restore of a time when its own account, token and room did not exist yet. */

jest.setTimeout(120_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');
const botId = '@steward:example.org';

let world: RestoreWorld;
let alice: MatrixClient;
let daemon: Child | null = null;
let port: number;

beforeAll(async () => {
  world = await RestoreWorld.open();
  alice = openClient({ ...world.alice, url: world.synapse.url });
  // Made by alice's account, before there was a bot.
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  world.closeCore();
  const bot = await world.synapse.register({ localpart: 'steward', admin: true });
  writeFileSync(join(world.dir, 'bot-token'), bot.accessToken, { mode: 0o600 });
  const roomId = await alice.createRoom({
    preset: 'private_chat',
    invite: [botId],
    power_level_content_override: { users: { [botId]: 100 } },
  });
  port = await freePort();
  world.configure({
    homeserver: { url: world.synapse.url, server_name: 'example.org', user_id: botId, access_token_file: 'bot-token' },
    room: { id: roomId },
    people: { alice: { user_ids: [alice.userId], roles: ['owner'] } },
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
});

const tail = (): string => readFileSync(join(world.dir, 'steward.log'), 'utf8').slice(-3000);

/** A connection that was kept open may have ended while this process waited for a command. */
const ready = (): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/readyz`).then(
    ({ status }) => status === 200,
    () => false,
  );

function shell(line: string): { status: number | null; out: string } {
  const words = [...line.split(' '), '--config', world.configPath];
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...words], {
    encoding: 'utf8',
  });
  return { status, out: stdout + stderr };
}

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

test('makes its account, token and room anew, and answers there', async () => {
  const before = readFileSync(join(world.dir, 'bot-token'), 'utf8');
  // To name what has no accounts is not to leave the accounts to it.
  const masPath = join(world.dir, 'mas.yaml');
  writeFileSync(masPath, 'database: {uri: "postgresql://mas@127.0.0.1:1/mas"}');
  const config = parse(readFileSync(world.configPath, 'utf8')) as { stack: object };
  writeFileSync(world.configPath, stringify({ ...config, stack: { ...config.stack, mas_config: [masPath] } }));
  expect(shell('server reload')).toMatchObject({ status: 0 });
  expect(shell('restore prepare latest --yes')).toMatchObject({ status: 0 });
  const cutover = shell('restore cutover latest --break-glass test');
  expect(cutover).toMatchObject({ status: 0, out: expect.stringContaining('a new access token, a new admin room') });
  expect(cutover.out).not.toContain('mas-cli');
  expect(readFileSync(join(world.dir, 'bot-token'), 'utf8')).not.toBe(before);
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
  // What it knew is still there.
  expect(shell('restore list').out).toContain('live');
});

test('and after the undo is back in its old room, with a token that the old data know', async () => {
  expect(shell('restore undo latest --yes --break-glass test')).toMatchObject({ status: 0 });
  await until(ready, 30_000, 'Steward is ready').catch(() => {
    throw new Error(tail());
  });
  const old = (await alice.request<{ joined_rooms: string[] }>('GET', '/_matrix/client/v3/joined_rooms')).joined_rooms;
  expect(old).toHaveLength(1);
  expect(shell('server doctor').out).not.toContain('❌ token');
});

describe('an account that the restored data know, and its token they do not', () => {
  const accountsNow = async (): Promise<string[]> =>
    (await alice.request<{ users: { name: string }[] }>('GET', '/_synapse/admin/v2/users?deactivated=false')).users
      .map(({ name }) => name)
      .sort();

  const attach = (userId: string, keep: (token: Secret) => void): Promise<string[]> =>
    reattach({
      bootstrap: new Bootstrap({ url: world.synapse.url, adminUrl: world.synapse.url, clock: systemClock, ids: systemIds }),
      ids: systemIds,
      userId,
      token: new Secret('nobody-knows-it'),
      previous: () => Promise.resolve(null),
      deviceId: 'STEWARD',
      registrationSecret: () => Promise.resolve(new Secret(world.synapse.registrationSharedSecret)),
      provisionAgain: null,
      keepToken: (token) => {
        keep(token);
        return Promise.resolve();
      },
      rooms: [],
      members: [],
      encrypted: false,
      moveRoom: () => undefined,
    });

  test("somebody else's gets no other password, and is told of", async () => {
    const eve = await world.synapse.register({ localpart: 'eve', admin: true });
    const before = await accountsNow();
    const kept: Secret[] = [];

    await expect(attach(eve.userId, (token) => kept.push(token))).rejects.toMatchObject({
      id: 'restore.not-attached',
      reason: expect.stringContaining('not a bot account'),
    });

    expect(kept).toEqual([]);
    expect((await login(world.synapse.url, 'eve', eve.password)).userId).toBe(eve.userId);
    expect(await accountsNow()).toEqual(before);
  });

  test("Steward's own gets a new token, and nobody is left behind", async () => {
    const robot = await world.synapse.register({ localpart: 'robot', admin: true });
    await alice.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(robot.userId)}`, { user_type: 'bot' });
    const before = await accountsNow();
    const kept: Secret[] = [];

    expect(await attach(robot.userId, (token) => kept.push(token))).toEqual(['a new access token']);

    const who = openClient({ url: world.synapse.url, userId: robot.userId, accessToken: kept[0]?.reveal() ?? '' });
    expect(await who.request('GET', '/_matrix/client/v3/account/whoami')).toMatchObject({ user_id: robot.userId, device_id: 'STEWARD' });
    expect(await accountsNow()).toEqual(before);
  });
});
