import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import type { RoomEvent } from '../../kit/client.ts';
import { downloadFile } from '../../kit/encrypted-client.ts';
import type { ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, codeIn, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook } from './support/webhook.ts';

/** An encrypted admin room: matrix-js-sdk peers with "exclude insecure devices" on, a real Synapse. */

jest.setTimeout(90_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ encrypted: true, proxied: true });
});

afterAll(() => home.dispose());

const sentinel = '!server version';
const isMessage = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'PUT' && path.includes('/send/m.room.encrypted/');

/** The emoji that an event got from Steward. */
async function marked(of: Steward, eventId: string): Promise<string> {
  const found = await (
    await home.secure('alice')
  ).timeline.waitFor(
    (event) => event.type === 'm.reaction' && event.sender === of.bot.userId && relationOf(event)['event_id'] === eventId,
    15_000,
  );
  return String(relationOf(found)['key']);
}

/** Types of what Steward has sent into its room, from Synapse's own database. */
function typesSent(of: Steward): Set<unknown> {
  return new Set(
    home
      .rows('SELECT type FROM events WHERE room_id = ? AND sender = ? AND state_key IS NULL', of.roomId, of.bot.userId)
      .map(({ type }) => type),
  );
}

test('a command is answered so that a client which excludes insecure devices can read it, and nothing is plain', async () => {
  const answer = await steward.alice.ask('!help');

  expect(answer.encrypted).toBe(true);
  expect(resultOf(answer)).toEqual({ command: 'help', outcome: 'done' });
  expect(bodyOf(answer)).toContain('!user list');
  expect(typesSent(steward)).toEqual(new Set(['m.room.encrypted']));
});

test('what an event is about stays readable for the homeserver, and edits and threads work', async () => {
  const root = await steward.alice.say('about today');
  const said = await steward.alice.say(sentinel, {
    'm.relates_to': { rel_type: 'm.thread', event_id: root, is_falling_back: true, 'm.in_reply_to': { event_id: root } },
  });
  const answer = await steward.alice.answer(said);
  expect(relationOf(answer)).toMatchObject({ rel_type: 'm.thread', event_id: root });
  const stored = home.rows('SELECT relates_to_id, relation_type FROM event_relations WHERE event_id = ?', answer.event_id);
  expect(stored).toEqual([{ relates_to_id: root, relation_type: 'm.thread' }]);

  const edited = await steward.alice.client.edit(steward.roomId, root, '!user create edited');
  expect(bodyOf(await steward.alice.answer(edited))).toContain('Edited messages are not run');
});

test('a job with a prompt runs by a reaction, which is never encrypted', async () => {
  const said = await steward.alice.say('!user update-password carol');
  const prompt = await steward.alice.prompt(said);
  await steward.alice.react(prompt.event_id, '❌');
  expect(resultOf(await steward.alice.answer(said))).toMatchObject({ error_id: 'access.declined' });
});

describe('what is not run', () => {
  const account = (name: string): Promise<unknown> => home.account(name);

  test('a plain command, forged by a server admin: a lock, and one word about it', async () => {
    const forged = await home.alice.client.request<{ access_token: string }>(
      'POST',
      `/_synapse/admin/v1/users/${encodeURIComponent(home.userId('bob'))}/login`,
      {},
    );
    const send = async (text: string): Promise<string> => {
      const path = `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/send/m.room.message/${encodeURIComponent(text)}`;
      const answer = await fetch(`${home.synapse.url}${path}`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${forged.access_token}` },
        body: JSON.stringify({ msgtype: 'm.text', body: text }),
      });
      return ((await answer.json()) as { event_id: string }).event_id;
    };
    const first = await send('!user create forged1');
    const second = await send('!user create forged2');

    expect([await marked(steward, first), await marked(steward, second)]).toEqual(['🔒', '🔒']);
    await steward.alice.ask(sentinel);
    expect([await account('forged1'), await account('forged2')]).toEqual([null, null]);
    const told = [...(await steward.alice.answers(first)), ...(await steward.alice.answers(second))];
    const records = steward.audit().flatMap(({ record }) => (record.event === 'access.locked' ? [record] : []));
    expect(records.map((record) => record.event_id)).toEqual([first, second]);
    expect(records[0]).toMatchObject({ actor: { kind: 'person', person: 'bob', trust: { kind: 'plain' } } });
    expect(told.map((event) => resultOf(event)?.error_id)).toEqual(['crypto.locked']);
    expect(bodyOf(told[0] as RoomEvent)).toContain('not encrypted');
  });

  test('a command from a device that its owner has not signed', async () => {
    const device = await home.secureDevice('bob', { signed: false });
    const said = await device.send(steward.roomId, '!user create unsigned');
    const chatter = await device.send(steward.roomId, 'good morning');

    expect(await marked(steward, said)).toBe('🔒');
    await steward.alice.ask(sentinel);
    expect(await account('unsigned')).toBeNull();
    expect((await steward.alice.answers(said)).map((event) => resultOf(event)?.error_id)).toEqual(['crypto.locked']);
    expect(await steward.alice.answers(chatter)).toEqual([]);
    const answer = await steward.alice.ask('!help');
    expect((await device.read(await home.bob.client.request('GET', eventPath(answer)), 500)).encrypted).toBeUndefined();
  });

  test('what cannot be decrypted', async () => {
    const content = {
      algorithm: 'm.megolm.v1.aes-sha2',
      ciphertext: randomBytes(200).toString('base64'),
      session_id: randomBytes(32).toString('base64').replace(/=+$/, ''),
      sender_key: randomBytes(32).toString('base64').replace(/=+$/, ''),
      device_id: 'NONE',
    };
    const said = await home.bob.client.sendEvent(steward.roomId, 'm.room.encrypted', content);
    const again = await home.bob.client.sendEvent(steward.roomId, 'm.room.encrypted', content);
    expect([await marked(steward, said), await marked(steward, again)]).toEqual(['🔒', '🔒']);
    await steward.alice.ask(sentinel);
    expect([...(await steward.alice.answers(said)), ...(await steward.alice.answers(again))]).toHaveLength(1);
  });
});

function eventPath(event: RoomEvent): string {
  return `/_matrix/client/v3/rooms/${encodeURIComponent(event.room_id)}/event/${encodeURIComponent(event.event_id)}`;
}

describe('files', () => {
  test('go out encrypted', async () => {
    const said = await steward.alice.say('!user list --csv');
    const file = await steward.alice.hears((_, event) => event.content['msgtype'] === 'm.file');
    expect(file.content['url']).toBeUndefined();
    const { url } = file.content['file'] as { url: string };
    expect((await home.alice.client.download(url)).toString()).not.toContain('alice');
    expect((await downloadFile(home.alice.client, file.content)).toString()).toContain('@alice:steward.test');
    await steward.alice.answer(said);
  });

  test('come in encrypted, and only as they were sent', async () => {
    const said = await steward.alice.client.sendFile(steward.roomId, {
      name: 'names.txt',
      bytes: 'infile1\ninfile2\n',
      caption: '!user create',
    });
    const prompt = await steward.alice.prompt(said);
    expect(bodyOf(prompt)).toContain('@infile2:steward.test');
    await steward.alice.react(prompt.event_id, '✅');
    expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
    expect(await home.account('infile1')).not.toBeNull();

    const list = await steward.alice.client.sendFile(steward.roomId, { name: 'more.txt', bytes: 'infile3\ninfile4\n' });
    const reply = await steward.alice.client.reply(steward.roomId, list, '!user create');
    await steward.alice.react((await steward.alice.prompt(reply)).event_id, '❌');

    const plain = await home.alice.client.sendFile(steward.roomId, { name: 'plain.txt', bytes: 'infile5\ninfile6\n' });
    const refused = await steward.alice.client.reply(steward.roomId, plain, '!user create');
    expect(resultOf(await steward.alice.answer(refused))?.outcome).toBe('usage');

    const changed = home.proxy.fault({
      name: 'another file',
      match: ({ path }) => path.includes('/media/download/'),
      action: { status: 200, body: 'somebody else\n' },
    });
    const swapped = await steward.alice.client.sendFile(steward.roomId, {
      name: 'swap.txt',
      bytes: 'infile7\ninfile8\n',
      caption: '!user create',
    });
    expect(resultOf(await steward.alice.answer(swapped))?.error_id).toBe('usage.input-unreadable');
    expect(changed.hits).toBe(1);
  });
});

test('no command is lost in a timeline that the homeserver cuts short', async () => {
  await steward.stop();
  const first = await steward.alice.say('!help error user.exists');
  await Promise.all(Array.from({ length: 120 }, (_, n) => home.carol.client.send(steward.roomId, `chatter ${n}`)));
  const last = await steward.alice.say('!help error store.newer');
  await steward.start();
  for (const event of [first, last])
    expect(resultOf(await steward.alice.answer(event, 30_000))).toEqual({ command: 'help', outcome: 'done' });
});

test('who has left cannot read what is said then', async () => {
  const before = await steward.alice.ask(sentinel);
  const carol = await home.secure('carol');
  await carol.client.leave(steward.roomId);
  await steward.alice.say('she has left');
  const after = await steward.alice.ask(sentinel);
  const session = async (event: RoomEvent): Promise<unknown> =>
    (await home.alice.client.request<RoomEvent>('GET', eventPath(event))).content['session_id'];
  expect(await session(after)).not.toBe(await session(before));
  expect(
    (await carol.client.read({ ...(await home.alice.client.request<RoomEvent>('GET', eventPath(after))), room_id: steward.roomId }, 500))
      .encrypted,
  ).toBeUndefined();
});

test('what was encrypted before a crash is sent after it as it was, once', async () => {
  const fault = home.proxy.fault({ name: 'no answer gets out', match: isMessage, times: Infinity, action: { status: 503, body: 'no' } });
  const said = await steward.alice.say(sentinel);
  await until(() => fault.hits > 0, 15_000, 'it tries to answer');
  const tried = home.proxy.requests.filter(isMessage).at(-1);
  await steward.kill();
  fault.remove();
  await steward.start();
  const answer = await steward.alice.answer(said);
  expect(await steward.alice.answers(said)).toHaveLength(1);
  const stored = await home.alice.client.request<RoomEvent>('GET', eventPath(answer));
  expect(stored.content['ciphertext']).toBe((tried?.body as { ciphertext: string }).ciphertext);
});

test.each([
  ['500', { status: 500, body: { errcode: 'M_UNKNOWN', error: 'boom' } }],
  ['429', { status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 200 } }],
  ['404', { status: 404, body: { errcode: 'M_NOT_FOUND', error: 'Event not found.' } }],
  ['nothing', 'reset' as const],
])('asked whether the room is encrypted the homeserver answers %s: nothing is ever written in plain', async (_, action) => {
  const lied = await home.steward({ encrypted: true, proxied: true, start: false });
  const isQuestion = ({ path }: Readonly<ProxiedRequest>): boolean =>
    path.includes(encodeURIComponent(lied.roomId)) && path.includes('/state/m.room.encryption');
  const fault = home.proxy.fault({ name: 'lie', match: isQuestion, times: Infinity, action });
  await lied.start('alive');
  await until(() => fault.hits > 0, 15_000, 'it asks');
  await lied.alice.say(sentinel);
  await lied.kill();
  await lied.start('alive');
  await until(() => fault.hits > 1, 15_000, 'it asks again');
  fault.remove();
  await lied.becomes(200);
  const answer = await lied.alice.ask(sentinel);
  expect(answer.encrypted).toBe(true);
  expect([...typesSent(lied)].filter((type) => type === 'm.room.message')).toEqual([]);
  await lied.stop();
});

test('a new cross-signing identity takes away the right to change anything, and everybody is told', async () => {
  const hook = await openWebhook();
  const pinned = await home.steward({ encrypted: true, start: false });
  pinned.putSecret('hook', hook.url);
  pinned.configure({ alerts: { webhook: { url_file: 'secrets/hook' } } });
  await pinned.start();
  expect(resultOf(await pinned.bob.ask('!user create trusted'))?.outcome).toBe('done');
  const bob = await home.secure('bob');
  await bob.client.resetIdentity();

  await pinned.alice.hears((body) => body.includes('another cross-signing identity') && body.includes(home.userId('bob')));
  const refused = await pinned.bob.ask('!user create usurper');

  expect(resultOf(refused)?.error_id).toBe('access.identity-changed');
  expect(await home.account('usurper')).toBeNull();
  expect(resultOf(await pinned.bob.ask('!user info trusted'))?.outcome).toBe('done');
  expect(bodyOf(await pinned.alice.ask('!server crypto'))).toMatch(/alice: cross-signing identity known\n.*bob: ⚠️ another identity/s);
  await until(() => hook.alerts.some(({ alerts }) => alerts.includes('identity.changed')), 10_000, 'the alert arrives');
  expect(hook.alerts.flatMap(({ alerts }) => alerts)).toContain('identity.changed');
  hook.close();
  await pinned.stop();
});

test('a code from an identity that bob made while he was nobody here does not count, also after a restart', async () => {
  const owner = (localpart: string): object => ({ user_ids: [home.userId(localpart)], roles: ['owner'] });
  const [alice, bob, carol] = [owner('alice'), owner('bob'), owner('carol')];
  const pinned = await home.steward({ encrypted: true, config: { approval: { countdown: '1s' }, people: { alice, bob, carol } } });
  const isRefused = async (name: string): Promise<void> => {
    const prompt = await pinned.alice.prompt(await pinned.alice.say(`!user create ${name} --admin`));
    const code = codeIn(prompt);
    expect(resultOf(await pinned.bob.ask(`!approve ${code}`))).toMatchObject({ error_id: 'access.identity-changed' });
    expect(bodyOf(await pinned.alice.ask(`!approval info ${code}`))).toContain('pending');
    expect(await home.account(name)).toBeNull();
  };
  pinned.configure({ people: { alice, carol } });
  await pinned.reread();
  await (await home.secure('bob')).client.resetIdentity();
  // His new keys are asked for, and are nobody's.
  expect(resultOf(await pinned.bob.ask(sentinel))?.error_id).toBe('access.no-role');
  pinned.configure({ people: { alice, bob, carol } });
  await pinned.reread();

  expect(resultOf(await pinned.bob.ask('!user create by-another-bob'))?.error_id).toBe('access.identity-changed');
  await isRefused('by-another-bob');
  await pinned.stop();
  await pinned.start();
  await isRefused('by-another-bob-again');

  // Another person confirms it, which a third one approves: bob may again.
  expect(resultOf(await pinned.bob.ask('!server crypto confirm bob'))?.outcome).not.toBe('done');
  const said = await pinned.alice.say('!server crypto confirm bob');
  const prompt = await pinned.alice.prompt(said);
  await pinned.carol.ask(`!approve ${codeIn(prompt)}`);
  expect(resultOf(await pinned.alice.answer(said, 30_000))?.outcome).toBe('done');
  const { master_keys: published } = await home.alice.client.request<{ master_keys: Record<string, { keys: Record<string, string> }> }>(
    'POST',
    '/_matrix/client/v3/keys/query',
    { device_keys: { [home.userId('bob')]: [] } },
  );
  const now = Object.values(published[home.userId('bob')]?.keys ?? {})[0] ?? 'none';
  expect(bodyOf(prompt).replaceAll(' ', '')).toContain(now);
  expect(resultOf(await pinned.bob.ask('!user create confirmed-bob'))?.outcome).toBe('done');
  expect(await home.account('confirmed-bob')).not.toBeNull();
  await pinned.stop();
});

test('`accept: tofu` takes commands from the first device of somebody without cross-signing, and from no other', async () => {
  const account = await home.register('tess');
  const first = await home.secureDevice('tess', { signed: false });
  const second = await home.secureDevice('tess', { signed: false });
  const trusting = await home.steward({
    encrypted: true,
    config: {
      encryption: { accept: 'tofu' },
      people: {
        alice: { user_ids: [home.userId('alice')], roles: ['owner'] },
        bob: { user_ids: [home.userId('bob')], roles: ['owner'] },
        tess: { user_ids: [account.userId], roles: ['owner'] },
      },
    },
  });
  await trusting.alice.client.invite(trusting.roomId, account.userId);
  await first.join(trusting.roomId);
  expect(bodyOf(await trusting.alice.ask('!server status'))).toContain('the first device of who has no cross-signing');

  // A client sends its keys to a device only when it has heard of it.
  const heard = async (): Promise<boolean> =>
    resultOf(await trusting.alice.answer(await first.send(trusting.roomId, sentinel)))?.outcome === 'done';
  await until(heard, 30_000, 'the first device knows that of Steward');
  const said = await first.send(trusting.roomId, '!user create firstever');
  expect(bodyOf(await trusting.alice.answer(said))).toContain('Created @firstever');
  const refused = await second.send(trusting.roomId, '!user create secondever');
  expect(await marked(trusting, refused)).toBe('🔒');
  const again = await first.send(trusting.roomId, '!user create firstagain');
  expect(resultOf(await trusting.alice.answer(again))?.outcome).toBe('done');

  expect(await home.account('firstever')).not.toBeNull();
  expect(await home.account('secondever')).toBeNull();
  expect(await home.account('firstagain')).not.toBeNull();
  // Who has cross-signing is held to it: an unsigned device of bob's is refused here too.
  const bobs = await home.secureDevice('bob', { signed: false });
  expect(await marked(trusting, await bobs.send(trusting.roomId, '!user create bobsunsigned'))).toBe('🔒');
  expect(await home.account('bobsunsigned')).toBeNull();
  await trusting.stop();
});

test('`accept: any` takes commands from a device that its owner has not signed, says so, and takes no code from it', async () => {
  const open = await home.steward({
    encrypted: true,
    config: { encryption: { accept: 'any' }, approval: { countdown: '1s' } },
  });
  const device = await home.secureDevice('bob', { signed: false });
  const said = await device.send(open.roomId, '!user create lax');
  expect(resultOf(await open.alice.answer(said))?.outcome).toBe('done');
  expect(await home.account('lax')).not.toBeNull();
  expect(bodyOf(await open.alice.ask('!server status'))).toContain('any device, signed or not');

  const asked = await open.alice.say('!user create laxadmin --admin');
  const code = /!approve ([0-9A-F]{4}-[0-9A-F]{2})/.exec(bodyOf(await open.alice.prompt(asked)))?.[1] ?? '';
  const typed = await device.send(open.roomId, `!approve ${code}`);
  expect(resultOf(await open.alice.answer(typed))?.error_id).toBe('approval.untrusted-device');
  await open.alice.ask(sentinel);
  expect(await home.account('laxadmin')).toBeNull();
  await open.stop();
});
