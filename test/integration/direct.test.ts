import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver, type Person } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Passwords in an encrypted direct message: to whom, for how long, and what is left of them. */

jest.setTimeout(120_000);

let home: Homeserver;
let steward: Steward;
let alice: Person;

beforeAll(async () => {
  home = await Homeserver.start();
  alice = await home.secure('alice');
  steward = await home.steward({ encrypted: true, config: { secrets: { dm: { remove: '1h' } } } });
});

afterAll(() => home.dispose());

const byBot = (event: RoomEvent, of: Steward): boolean => event.sender === of.bot.userId && event.type === 'm.room.message';

/** Asks for a new account; accepts the invitation where there is one. @returns the message with the password */
async function told(of: Steward, name: string, person = alice): Promise<RoomEvent> {
  const message = person.timeline.waitFor(
    (event) => event.room_id !== of.roomId && byBot(event, of) && bodyOf(event).includes(home.userId(name)),
    60_000,
  );
  const answer = await of.alice.ask(`!user create ${name}`);
  expect(bodyOf(answer)).toContain('password: in an encrypted direct message to you');
  const known = person.timeline.invites.some(({ sender }) => sender === of.bot.userId);
  const invite = await person.timeline.waitForInvite(({ sender }) => sender === of.bot.userId);
  if (!known || !(await joined(person, invite.roomId))) await person.client.join(invite.roomId);
  return message;
}

async function joined(person: Person, roomId: string): Promise<boolean> {
  const { joined_rooms: rooms } = await person.client.request<{ joined_rooms: string[] }>('GET', '/_matrix/client/v3/joined_rooms');
  return rooms.includes(roomId);
}

const passwordIn = (event: RoomEvent): string => /^Password: (.*)$/m.exec(bodyOf(event))?.[1] ?? '';

/** Whether the homeserver has taken the content of a message away. */
async function isRemoved(person: Person, event: RoomEvent): Promise<boolean> {
  const path = `/_matrix/client/v3/rooms/${encodeURIComponent(event.room_id)}/event/${encodeURIComponent(event.event_id)}`;
  return Object.keys((await person.client.request<RoomEvent>('GET', path)).content).length === 0;
}

describe('a new password', () => {
  let first: RoomEvent;

  test('comes encrypted to the person who asked, in a room of the two, and then no longer lies on the host', async () => {
    first = await told(steward, 'direct1');

    expect(first).toMatchObject({ encrypted: true });
    expect(bodyOf(first)).toContain(`User ID: ${home.userId('direct1')}\nPassword: `);
    expect(await home.logsIn('direct1', passwordIn(first))).toBe(true);
    await until(() => steward.password('direct1') === null, 10_000, 'the file has gone');
    const members = await steward.client.request<{ joined: object }>(
      'GET',
      `/_matrix/client/v3/rooms/${encodeURIComponent(first.room_id)}/joined_members`,
    );
    expect(Object.keys(members.joined).sort()).toEqual([home.userId('alice'), steward.bot.userId].sort());
    expect(home.rows('SELECT DISTINCT type FROM events WHERE room_id = ? AND state_key IS NULL', first.room_id)).toEqual([
      { type: 'm.room.encrypted' },
    ]);
    expect(
      await steward.client.request('GET', `/_matrix/client/v3/user/${encodeURIComponent(steward.bot.userId)}/account_data/m.direct`),
    ).toEqual({ [home.userId('alice')]: [first.room_id] });
  });

  test('is in nothing that Steward keeps, logs or says elsewhere', async () => {
    const password = passwordIn(first);
    expect(password).toMatch(/^\w{24}$/);
    const files = readdirSync(steward.dataDir, { recursive: true, withFileTypes: true })
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => statSync(path).isFile());
    expect(files.map((path) => path.slice(steward.dataDir.length + 1))).toEqual(expect.arrayContaining(['steward.db', 'steward.db-wal']));
    expect(files.filter((path) => readFileSync(path).includes(password))).toEqual([]);
    expect(steward.log).not.toContain(password);
    expect(JSON.stringify(await steward.alice.history())).not.toContain(password);
    expect((await steward.health('metrics')).body).not.toContain(password);
    expect(home.rows('SELECT json FROM event_json WHERE json LIKE ?', `%${password}%`)).toEqual([]);
  });

  test('goes when the person reacts 👁, and not when Steward or another key does', async () => {
    await alice.client.react(first.room_id, first.event_id, '👍');
    await steward.alice.ask('!server version');
    expect(await isRemoved(alice, first)).toBe(false);

    await alice.client.react(first.room_id, first.event_id, '👁️');

    await until(() => isRemoved(alice, first), 10_000, 'the message is removed');
  });

  test('comes into the same room again, and stays when anybody else who has come reacts', async () => {
    const again = await told(steward, 'direct2');
    expect(again.room_id).toBe(first.room_id);
    await steward.client.invite(first.room_id, home.userId('bob'));
    await home.bob.client.join(first.room_id);

    await home.bob.client.react(first.room_id, again.event_id, '👁');
    await steward.alice.ask('!server version');

    expect(await isRemoved(alice, again)).toBe(false);
    await alice.client.react(first.room_id, again.event_id, '✅');
    await until(() => isRemoved(alice, again), 10_000, 'the message is removed');
  });

  test('comes into a new room when a third is in the old one', async () => {
    const answer = await steward.alice.ask('!user create direct3');
    expect(resultOf(answer)?.outcome).toBe('done');
    const invite = await alice.timeline.waitForInvite(({ roomId, sender }) => sender === steward.bot.userId && roomId !== first.room_id);
    await alice.client.join(invite.roomId);
    const message = await alice.timeline.waitFor((event) => event.room_id === invite.roomId && byBot(event, steward), 60_000);

    expect(await home.logsIn('direct3', passwordIn(message))).toBe(true);
    await until(() => steward.password('direct3') === null, 10_000, 'the file has gone');
  });

  test('stays on the host when the invitation is declined, and that is told', async () => {
    const other = await home.steward({ encrypted: true });
    const answer = await other.alice.ask('!user create direct4');
    expect(bodyOf(answer)).toContain('accept my invitation');
    const invite = await alice.timeline.waitForInvite(({ sender }) => sender === other.bot.userId);
    await alice.client.leave(invite.roomId);

    await other.alice.hears((body) => body.includes('could not be handed over') && body.includes('direct4'), 30_000);
    expect(await home.logsIn('direct4', other.password('direct4') ?? '')).toBe(true);
    await other.stop();
  });

  test('goes into a file where the command came plain, and the reason is said', async () => {
    const plain = await home.steward();
    expect(bodyOf(await plain.alice.ask('!user create direct5'))).toContain('(the admin room is not encrypted; no age key of alice)');
    await plain.stop();
  });
});

test('after its time it goes by itself, over a kill and a start', async () => {
  const brief = await home.steward({ encrypted: true, config: { secrets: { dm: { remove: '4s' } } } });
  const message = await told(brief, 'brief1');
  await until(() => brief.password('brief1') === null, 10_000, 'the file has gone');
  await brief.kill();
  expect(await isRemoved(alice, message)).toBe(false);
  await sleep(4000);
  expect(await isRemoved(alice, message)).toBe(false);

  await brief.start();

  await until(() => isRemoved(alice, message), 15_000, 'the message is removed');
  await brief.stop();
});

test('a kill while it is sent loses nothing: it comes once after the start', async () => {
  const killed = await home.steward({ encrypted: true, proxied: true });
  await told(killed, 'killed1');
  const hang = home.proxy.fault({
    name: 'the direct message gets no answer',
    match: ({ method, path }) =>
      method === 'PUT' && path.includes('/send/m.room.encrypted/') && !path.includes(encodeURIComponent(killed.roomId)),
    action: 'hang',
  });
  await killed.alice.ask('!user create killed2');
  await until(() => hang.hits === 1, 20_000, 'it is under way');

  await killed.kill();
  const kept = killed.password('killed2') ?? '';
  expect(await home.logsIn('killed2', kept)).toBe(true);
  await killed.start();

  const holds = (event: RoomEvent): boolean => byBot(event, killed) && bodyOf(event).includes(home.userId('killed2'));
  const message = await alice.timeline.waitFor((event) => event.room_id !== killed.roomId && holds(event), 30_000);
  expect(passwordIn(message)).toBe(kept);
  await until(() => killed.password('killed2') === null, 10_000, 'the file has gone');
  expect(alice.timeline.events.filter((event) => event.room_id === message.room_id && holds(event))).toHaveLength(1);
  await killed.stop();
});
