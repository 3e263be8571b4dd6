import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RoomEvent } from '../../kit/client.ts';
import type { ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import { answeredBy, bodyOf, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** What is heard from the room, and what is not: on a real Synapse, read back past Steward. */

jest.setTimeout(60_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

/** A command that is answered behind everything that was said before it. */
const sentinel = '!server version';
const impatient = { limits: { command_age: '2s' } };

describe('before the first start', () => {
  test.each([
    ['a member already', true],
    ['only invited', false],
  ])('nothing that was said is acted on, when the bot is %s', async (_, joined) => {
    const name = joined ? 'early' : 'earlier';
    const steward = await home.steward({ start: false, joined });
    const said = await steward.alice.say(`!user create ${name}`);
    await steward.start();

    await steward.alice.ask(sentinel);

    expect(await home.account(name)).toBeNull();
    expect(await steward.alice.answers(said)).toEqual([]);
    expect((await steward.alice.history()).filter((event) => bodyOf(event).includes('Not run'))).toEqual([]);
  });
});

describe('while Steward was away', () => {
  test('an old command is listed and not run, a young one is run once', async () => {
    const steward = await home.steward({ config: impatient });
    await steward.stop();
    const old = await steward.alice.say('!user create away-old');
    await sleep(2200);
    const young = await steward.alice.say('!user create away-young');
    await steward.start();

    expect(resultOf(await steward.alice.answer(young))?.outcome).toBe('done');
    const list = await steward.alice.hears((body) => body.startsWith('Not run'));

    expect(bodyOf(list).split('\n').slice(1)).toEqual([expect.stringMatching(/^• !user create … by @alice:steward\.test/)]);
    expect(list.content['m.mentions']).toEqual({ user_ids: [home.userId('alice')] });
    await steward.stop();
    await steward.start();
    await steward.alice.ask(sentinel);
    expect(await home.account('away-old')).toBeNull();
    expect(await home.account('away-young')).not.toBeNull();
    expect(await steward.alice.answers(old)).toEqual([]);
    expect(await steward.alice.answers(young)).toHaveLength(1);
    expect((await steward.alice.history()).filter((event) => bodyOf(event).startsWith('Not run'))).toHaveLength(1);
  });

  test('no command is lost in a timeline that the homeserver cuts short', async () => {
    const steward = await home.steward();
    await steward.stop();
    const first = [await steward.alice.say('!help error user.exists'), await steward.bob.say('!help error user.not-local')];
    await Promise.all(Array.from({ length: 130 }, (_, n) => steward.carol.say(`chatter ${n}`)));
    const last = await steward.alice.say('!help error store.newer');
    await steward.start();

    for (const event of [...first, last]) expect(resultOf(await steward.alice.answer(event))).toEqual({ command: 'help', outcome: 'done' });
    for (const event of [...first, last]) expect(await steward.alice.answers(event)).toHaveLength(1);
  });

  test('however many old commands there are, each is listed', async () => {
    const steward = await home.steward({ config: impatient });
    await steward.stop();
    await Promise.all(Array.from({ length: 180 }, (_, n) => steward.alice.say(`!user create crowd${n}`)));
    await sleep(2200);
    await steward.start();

    const answered = await steward.alice.say(sentinel);
    await steward.alice.answer(answered);

    const lists = (await steward.alice.history()).filter((event) => bodyOf(event).startsWith('Not run'));
    expect(lists.flatMap((event) => bodyOf(event).split('\n')).filter((line) => line.startsWith('• !user create …'))).toHaveLength(180);
    expect(home.rows("SELECT name FROM users WHERE name LIKE '@crowd%'")).toEqual([]);
  });
});

test('killed again and again under traffic, it runs and answers each command once', async () => {
  const kills = 10;
  const seed = Date.now() % 1_000_000;
  let state = seed;
  const fraction = (): number => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  const puts = home.proxy.requests.length;
  const steward = await home.steward({ proxied: true });
  const said = new Map<string, string>();
  let talking = true;
  const talk = async (): Promise<void> => {
    for (let n = 0; talking; n += 1) {
      said.set(`kill${n}`, await steward.alice.say(`!user create kill${n}`));
      await sleep(20 + fraction() * 150);
    }
  };
  const talked = talk();
  for (let n = 0; n < kills; n += 1) {
    await sleep(fraction() * 900);
    await steward.kill();
    await steward.start();
  }
  talking = false;
  await talked;

  for (const event of said.values()) await steward.alice.answer(event, 30_000);
  await steward.alice.ask(sentinel);

  const history = await steward.alice.history();
  const sent = home.proxy.requests
    .slice(puts)
    .filter(({ method, path }) => method === 'PUT' && path.startsWith('/_synapse/admin/v2/users/'));
  const secrets = readdirSync(join(steward.dataDir, 'secrets'));
  const wrong: string[] = [];
  for (const [name, event] of said) {
    const answers = history.filter((each) => each.type === 'm.room.message' && answeredBy(each) === event);
    const outcome = answers.map((each) => `${resultOf(each)?.outcome ?? ''} ${resultOf(each)?.error_id ?? ''}`.trim()).join(', ');
    const exists = (await home.account(name)) !== null;
    const writes = sent.filter(({ path }) => path.endsWith(encodeURIComponent(home.userId(name)))).length;
    const isKept = secrets.includes(`${name}_steward.test.txt`);
    const right =
      outcome === 'done' ? exists && isKept && writes === 1 : outcome === 'failed job.interrupted' && !exists && !isKept && writes <= 1;
    if (!right)
      wrong.push(`${name}: ${outcome}; ${exists ? 'exists' : 'does not exist'}, ${writes} writes, ${isKept ? 'a' : 'no'} password is kept`);
  }
  expect({ seed, wrong }).toEqual({ seed, wrong: [] });
  expect(said.size).toBeGreaterThan(kills);
});

test('a command that an earlier run took in and never began is run once', async () => {
  const steward = await home.steward({ proxied: true });
  await steward.stop();
  const said = await steward.alice.say('!user create begun');
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'));
  const command = { line: 'user create begun', items: null, threadId: null, replyTo: null, file: null };
  database
    .prepare('INSERT INTO inbox (event_id, room_id, sender, type, content, age_ms, caught_up, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
    .run(said, steward.roomId, home.userId('alice'), 'm.room.message', JSON.stringify({ kind: 'command', command }), 10, 0, Date.now());
  database.close();
  const isWrite = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'PUT' && path.includes('begun');
  // So long that what looks after cut-off jobs at the start comes by while this one runs.
  home.proxy.fault({ name: 'slow', match: isWrite, action: { delay: 2000 } });
  await steward.start();

  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');

  await steward.alice.ask(sentinel);
  expect(await steward.alice.answers(said)).toHaveLength(1);
  expect(home.proxy.requests.filter(isWrite)).toHaveLength(1);
  expect(await home.logsIn('begun', steward.password('begun') ?? '')).toBe(true);
});

test('an event that is delivered twice is one job', async () => {
  const steward = await home.steward({ proxied: true });
  const said = await steward.alice.say('!user create twice');
  await steward.alice.answer(said);
  const event = (await steward.alice.history()).find(({ event_id }) => event_id === said);
  const { next_batch } = await steward.client.request<{ next_batch: string }>('GET', '/_matrix/client/v3/sync?timeout=0');
  const again = {
    next_batch,
    rooms: { join: { [steward.roomId]: { timeline: { events: [{ ...event, unsigned: { age: 10 } }], limited: false } } } },
  };
  const fault = home.proxy.fault({
    name: 'the event again',
    match: ({ path }) => path.startsWith('/_matrix/client/v3/sync') && path.includes('timeout=30000'),
    action: { status: 200, body: again },
  });

  await steward.alice.ask(sentinel);
  await steward.alice.ask(sentinel);

  expect(fault.hits).toBe(1);
  expect(await steward.alice.answers(said)).toHaveLength(1);
});

describe('of what is said in the room', () => {
  let steward: Steward;

  beforeAll(async () => {
    steward = await home.steward();
  });

  /** All of Steward's messages after an event. */
  async function after(eventId: string): Promise<RoomEvent[]> {
    const history = await steward.alice.history();
    return history
      .slice(history.findIndex((event) => event.event_id === eventId) + 1)
      .filter((event) => event.sender === steward.bot.userId && event.type === 'm.room.message');
  }

  test('edits never run, neither of a command nor into one', async () => {
    const chatter = await steward.alice.say('good morning');
    const edited = await steward.alice.client.edit(steward.roomId, chatter, '!user create edited');
    const command = await steward.alice.say('!user list --admins');
    const corrected = await steward.alice.client.edit(steward.roomId, command, '!user create corrected');

    await steward.alice.ask(sentinel);

    for (const edit of [edited, corrected])
      expect((await steward.alice.answers(edit)).map((event) => resultOf(event)?.outcome)).toEqual(['refused']);
    expect((await steward.alice.answers(command)).map((event) => resultOf(event))).toEqual([{ command: 'user list', outcome: 'done' }]);
    expect(await home.account('edited')).toBeNull();
    expect(await home.account('corrected')).toBeNull();
  });

  test('its own messages, notices, emotes and reactions to chatter are not commands', async () => {
    const begin = await steward.bob.say('hello');
    await steward.client.send(steward.roomId, '!user create own');
    await steward.bob.say('!user create noticed', { msgtype: 'm.notice' });
    await steward.bob.say('!user create emoted', { msgtype: 'm.emote' });
    await steward.bob.react(begin, '✅');

    const last = await steward.bob.ask(sentinel);

    for (const name of ['own', 'noticed', 'emoted']) expect(await home.account(name)).toBeNull();
    expect((await after(begin)).map((event) => event.event_id)).toEqual([expect.any(String), last.event_id]);
  });

  test('another room that it sits in is not heard', async () => {
    const other = await home.alice.client.createRoom({});
    await steward.stop();
    await home.alice.client.invite(other, steward.bot.userId);
    await steward.client.join(other);
    await steward.start();
    await home.alice.client.send(other, '!user create elsewhere');

    await steward.alice.ask(sentinel);

    expect(await home.alice.client.getState(other, 'm.room.member', steward.bot.userId)).toMatchObject({ membership: 'join' });
    expect(await home.account('elsewhere')).toBeNull();
    const said = (await home.alice.client.messages(other)).filter((event) => event.type === 'm.room.message');
    expect(said.map((event) => event.sender)).toEqual([home.userId('alice')]);
  });

  test('an invitation to another room is declined and told once, also over a restart', async () => {
    const other = await home.carol.client.createRoom({ name: '<b>party</b>', invite: [steward.bot.userId] });

    const told = await steward.alice.hears((body) => body.includes(other));

    expect(bodyOf(told)).toContain(home.userId('carol'));
    await until(
      async () => (await home.carol.client.getState(other, 'm.room.member', steward.bot.userId))['membership'] === 'leave',
      5000,
      'the invitation is declined',
    );
    await steward.stop();
    await steward.start();
    await steward.alice.ask(sentinel);
    expect(
      (await steward.alice.history()).filter((event) => event.type === 'm.room.message' && bodyOf(event).includes(other)),
    ).toHaveLength(1);
  });

  test('a person without a role gets one refusal that names whom to ask', async () => {
    const first = await steward.carol.say('!user create stranger');
    const second = await steward.carol.say('!user list');

    const refusal = await steward.carol.answer(first);
    await steward.alice.ask(sentinel);

    expect(resultOf(refusal)).toMatchObject({ outcome: 'refused', error_id: 'access.no-role' });
    expect(bodyOf(refusal)).toContain('Ask alice or bob');
    expect(await steward.carol.answers(second)).toEqual([]);
    expect(await home.account('stranger')).toBeNull();
  });

  test('a command in a thread is answered in the thread', async () => {
    const root = await steward.alice.say('about the accounts');
    const said = await steward.alice.say('!user list --admins', {
      'm.relates_to': { rel_type: 'm.thread', event_id: root, is_falling_back: true, 'm.in_reply_to': { event_id: root } },
    });

    expect(relationOf(await steward.alice.answer(said))).toEqual({
      rel_type: 'm.thread',
      event_id: root,
      is_falling_back: true,
      'm.in_reply_to': { event_id: said },
    });
  });

  test.each([
    ['a pill', '!user info Carol the Great', (id: string) => `!user info <a href="https://matrix.to/#/${id}">Carol the Great</a>`],
    [
      'an encoded link',
      '!user info Carol',
      (id: string) => `<p>!user info <a href="https://matrix.to/#/${encodeURIComponent(id)}">Carol</a></p>`,
    ],
    ['a pasted permalink', '!user info https://matrix.to/#/@carol:steward.test', null],
  ])('%s names an account', async (_, body, formatted) => {
    const answer = await steward.alice.ask(
      body,
      formatted === null ? {} : { format: 'org.matrix.custom.html', formatted_body: formatted(home.userId('carol')) },
    );

    expect(resultOf(answer)).toEqual({ command: 'user info', outcome: 'done' });
    expect(bodyOf(answer)).toContain(home.userId('carol'));
  });

  test('formatted text that no parser survives is a command like any other, and the next one is heard', async () => {
    const deep = `${'<b>'.repeat(6000)}<a href="https://matrix.to/#/@carol:steward.test">Carol</a>`;
    const said = await steward.alice.say('!user info carol', { format: 'org.matrix.custom.html', formatted_body: deep });

    expect(resultOf(await steward.alice.ask(sentinel))).toMatchObject({ outcome: 'done' });
    expect(await steward.alice.answers(said)).toHaveLength(1);
  });

  test('a code block is one target a line', async () => {
    const said = await steward.alice.say('!user create -y\n```\nblock1\nblock2 --display-name "Block Two"\n```');

    expect(bodyOf(await steward.alice.answer(said))).toContain('2 of 2 done');
    expect(await home.account('block1')).toMatchObject({ displayname: 'block1' });
    expect(await home.account('block2')).toMatchObject({ displayname: 'Block Two' });
  });

  test('one wrong line in a code block stops all of it', async () => {
    const answer = await steward.alice.ask('!user create -y\n```\nfine1\nNotFine\nfine2\n```');

    expect(resultOf(answer)).toMatchObject({ outcome: 'usage' });
    expect(bodyOf(answer)).toContain('line 2');
    for (const name of ['fine1', 'fine2']) expect(await home.account(name)).toBeNull();
  });

  test('a file gives the targets, as its caption or as an answer to it', async () => {
    const captioned = await home.alice.client.sendFile(steward.roomId, {
      name: 'names.txt',
      bytes: 'filed1\n\nfiled2\r\n',
      contentType: 'text/plain',
      caption: '!user create -y',
    });
    expect(bodyOf(await steward.alice.answer(captioned))).toContain('2 of 2 done');

    const plain = await home.bob.client.sendFile(steward.roomId, { name: 'more.txt', bytes: 'filed3', contentType: 'text/plain' });
    const answer = await steward.alice.ask('!user create -y', { 'm.relates_to': { 'm.in_reply_to': { event_id: plain } } });

    expect(resultOf(answer)).toMatchObject({ command: 'user create', outcome: 'done' });
    for (const name of ['filed1', 'filed2', 'filed3']) expect(await home.account(name)).not.toBeNull();
    expect(await steward.alice.answers(plain)).toEqual([]);
  });

  test('a structured command runs when it is meant for this bot', async () => {
    const content = (name: string, mentioned: string): Record<string, unknown> => ({
      'org.matrix.msc4391.command': { command: 'user create', arguments: { user: name, 'display-name': 'Struc "T" ured' } },
      'm.mentions': { user_ids: [mentioned] },
    });

    expect(resultOf(await steward.alice.ask('(a command)', content('structured', steward.bot.userId)))).toMatchObject({
      command: 'user create',
      outcome: 'done',
    });
    await steward.alice.say('(a command)', content('unmeant', '@other:steward.test'));
    await steward.alice.ask(sentinel);

    expect(await home.account('structured')).toMatchObject({ displayname: 'Struc "T" ured' });
    expect(await home.account('unmeant')).toBeNull();
  });

  test('clients can read what the commands are', async () => {
    const state = await home.alice.client.request<RoomEvent[]>(
      'GET',
      `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/state`,
    );
    const described = state
      .filter((event) => event.type === 'org.matrix.msc4391.command_description' && event.sender === steward.bot.userId)
      .map(({ content }) => content);

    expect(described.map((content) => content['command'])).toEqual(
      expect.arrayContaining(['help', 'what', 'undo', 'user list', 'user create', 'server status']),
    );
    expect(described.find((content) => content['command'] === 'user update-password')?.['parameters']).toContainEqual(
      expect.objectContaining({ key: 'user', optional: false, schema: { schema_type: 'primitive', type: 'string' } }),
    );
  });

  test('its name is enough, and without the bare prefix it is needed', async () => {
    const named = await home.steward({ room: { name: 'prod', bare_prefix: false } });

    const bare = await named.alice.say('!user create bare');
    const other = await named.alice.say('!steward user create other');
    expect(resultOf(await named.alice.ask('!prod user create called'))).toMatchObject({ command: 'user create', outcome: 'done' });

    for (const event of [bare, other]) expect(await named.alice.answers(event)).toEqual([]);
    for (const name of ['bare', 'other']) expect(await home.account(name)).toBeNull();
    expect(resultOf(await steward.alice.ask('!Steward user list'))).toMatchObject({ command: 'user list', outcome: 'done' });
    expect(resultOf(await steward.alice.ask('!steward'))).toMatchObject({ command: 'help', outcome: 'done' });
  });
});

describe('files in the room', () => {
  let steward: Steward;

  beforeAll(async () => {
    steward = await home.steward();
  });

  /** The file that comes with the answer to a command. */
  async function file(line: string): Promise<{ content: Record<string, unknown>; text: string }> {
    const said = await steward.alice.say(line);
    const event = await steward.alice.hears((_, each) => each.content['msgtype'] === 'm.file' && answeredBy(each) === said);
    return { content: event.content, text: (await home.alice.client.download(String(event.content['url']))).toString() };
  }

  test('--csv is a file with every account in it, whatever their names are', async () => {
    const names: Record<string, string> = {
      csv1: '=HYPERLINK("http://evil.test")',
      csv2: 'comma, "quote"',
      csv3: '@room <b>bold</b>',
      csv4: '-1+1',
      csv5: 'ordinary',
    };
    for (const [localpart, displayname] of Object.entries(names)) await home.register(localpart, displayname);

    const { content, text } = await file('!user list csv --csv');

    expect(content).toMatchObject({
      msgtype: 'm.file',
      body: 'user-list.csv',
      filename: 'user-list.csv',
      'm.mentions': {},
      info: { mimetype: 'text/csv', size: Buffer.byteLength(text) },
    });
    expect(text.split('\n').map((line) => line.replace(/,false,false,false,false,.*$/, ''))).toEqual([
      'userId,displayName,admin,deactivated,locked,guest,type,createdAt,lastSeenAt',
      `@csv1:steward.test,"'=HYPERLINK(""http://evil.test"")"`,
      '@csv2:steward.test,"comma, ""quote"""',
      `@csv3:steward.test,'@room <b>bold</b>`,
      `@csv4:steward.test,'-1+1`,
      '@csv5:steward.test,ordinary',
      '',
    ]);
    await until(() => readdirSync(join(steward.dataDir, 'exports')).length === 0, 5000, 'what was sent does not lie about');
  });

  test('--json is every row, and names come through as they are', async () => {
    await home.register('json1', 'two\nlines \u202e and \u0001 nothing');

    const { text } = await file('!user list json --json');

    expect(JSON.parse(text)).toEqual([
      expect.objectContaining({ userId: '@json1:steward.test', displayName: 'two\nlines \u202e and \u0001 nothing' }),
    ]);
  });

  test('an answer above 8 kB becomes a file, and all of it is in there', async () => {
    const many = Array.from({ length: 150 }, (_, n) => `long${String(n).padStart(3, '0')}`);
    await Promise.all(many.map((localpart) => home.register(localpart, `${localpart} ${'x'.repeat(60)}`)));
    const said = await steward.alice.say('!user list long --limit 200');

    const event = await steward.alice.hears((_, each) => each.content['msgtype'] === 'm.file' && answeredBy(each) === said);
    const text = (await home.alice.client.download(String(event.content['url']))).toString();

    expect(event.content['filename']).toBe('user-list.txt');
    for (const localpart of many) expect(text).toContain(`@${localpart}:steward.test`);
    const shown = (await steward.alice.answers(said)).filter((each) => each.content['msgtype'] === 'm.notice');
    expect(shown).toHaveLength(1);
    expect(bodyOf(shown[0] as RoomEvent).length).toBeLessThan(1000);
  });
});
