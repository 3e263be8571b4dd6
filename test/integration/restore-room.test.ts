import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openEncryptedClient, type EncryptedClient } from '../../kit/encrypted-client.ts';
import { freePort, startChild, waitUntilReady, type Child } from '../../kit/process.ts';
import { sql } from '../../kit/postgres.ts';
import type { Person } from './support/homeserver.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { bodyOf, codeIn, resultOf, Seat } from './support/seat.ts';

/** A restore as it is asked for and approved in an encrypted room, by people at clients that encrypt, with PostgreSQL. */

jest.setTimeout(300_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');
const botId = '@steward:example.org';

let world: RestoreWorld;
let daemon: Child | null = null;
const clients: EncryptedClient[] = [];
let alice: Seat;
let bob: Seat;
let stopTimelines = (): void => undefined;

beforeAll(async () => {
  world = await RestoreWorld.open();
  const bot = await world.synapse.register({ localpart: 'steward', admin: true });
  const second = await world.synapse.register({ localpart: 'bob', admin: true });
  writeFileSync(join(world.dir, 'bot-token'), bot.accessToken, { mode: 0o600 });
  const people: Person[] = [];
  for (const account of [world.alice, second]) {
    const client = await openEncryptedClient({ ...account, url: world.synapse.url });
    clients.push(client);
    people.push({ client, timeline: await client.timeline() });
  }
  const [first, other] = people;
  if (first === undefined || other === undefined) throw new Error('two people');
  stopTimelines = () => {
    for (const { timeline } of people) timeline.stop();
  };
  const roomId = await first.client.createRoom({
    preset: 'private_chat',
    invite: [second.userId, botId],
    power_level_content_override: { users: { [botId]: 100 }, invite: 50 },
    creation_content: { 'm.federate': false },
    initial_state: [
      { type: 'm.room.history_visibility', content: { history_visibility: 'joined' } },
      { type: 'm.room.guest_access', content: { guest_access: 'forbidden' } },
      { type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2' } },
    ],
  });
  await other.client.join(roomId);
  [alice, bob] = [new Seat(first, roomId, botId), new Seat(other, roomId, botId)];
  const port = await freePort();
  world.configure({
    homeserver: { url: world.synapse.url, server_name: 'example.org', user_id: botId, access_token_file: 'bot-token' },
    room: { id: roomId },
    people: {
      alice: { user_ids: [world.alice.userId], roles: ['owner'] },
      bob: { user_ids: [second.userId], roles: ['owner'] },
    },
    approval: { countdown: '2s' },
    http: { listen: `127.0.0.1:${port}` },
  });
  const logPath = join(world.dir, 'steward.log');
  daemon = await startChild({
    command: [process.execPath, '--disable-warning=ExperimentalWarning', main, 'run', '--config', world.configPath],
    logPath,
    cwd: world.dir,
  });
  const ready = (): Promise<boolean> => fetch(`http://127.0.0.1:${port}/readyz`).then(({ status }) => status === 200);
  await waitUntilReady('Steward', daemon, logPath, ready, 60_000);
}, 300_000);

afterAll(async () => {
  stopTimelines();
  for (const client of clients) client.close();
  await daemon?.stop(20_000);
  await world.dispose();
});

const users = async (): Promise<string> => sql({ ...world.postgres.superuser, name: 'synapse' }, 'SELECT name FROM users ORDER BY 1');

test('alice asks, bob types the code, and the answer on the restored data names both and what was proven', async () => {
  const backup = await alice.say('!backup create');
  expect(resultOf(await alice.answer(backup, 120_000))).toMatchObject({ outcome: 'done' });
  await world.synapse.register({ localpart: 'later' });
  const prepared = await alice.say('!restore prepare latest -y');
  expect(bodyOf(await alice.answer(prepared, 120_000))).toContain('Prepared');
  const pid = world.pid;

  const said = await alice.say('!restore cutover');
  const prompt = await alice.prompt(said);
  expect(bodyOf(prompt)).toMatch(/1 new user/);
  const code = codeIn(prompt);
  // A reaction is no approval of this tier, and neither is one's own.
  await bob.react(prompt.event_id, '✅');
  expect(resultOf(await bob.answer(prompt.event_id, 60_000))).toMatchObject({ error_id: 'approval.must-be-typed' });
  expect(resultOf(await alice.answer(await alice.say(`!approve ${code}`), 60_000))).toMatchObject({ error_id: 'approval.own-request' });
  expect(world.pid).toBe(pid);
  expect(await users()).toContain('@later:example.org');

  // What would be lost goes on growing: a homeserver is not still while somebody makes up his mind.
  await bob.say('are you sure?');
  await world.synapse.register({ localpart: 'later-still' });

  await bob.say(`!approve ${code}`);
  const answer = await alice.answer(said, 120_000);
  expect(resultOf(answer)).toMatchObject({ outcome: 'done', command: 'restore cutover' });
  expect(bodyOf(answer)).toContain('asked by alice, approved by bob');
  expect(bodyOf(answer)).toContain('a new account could log in, write and read');
  expect(world.pid).not.toBe(pid);
  expect(await users()).not.toContain('@later:example.org');

  // The way back, within the hour, by alice alone.
  const back = await alice.say('!restore undo -y');
  expect(bodyOf(await alice.answer(back, 120_000))).toContain('Went back to what was live before');
  expect(await users()).toContain('@later:example.org');
});
