import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** Names that people, attackers and phones choose: of accounts, of rooms, of files, and in the command itself. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward();
});

afterAll(() => home.dispose());

/** Every account of the homeserver, from its own database. */
const accounts = (): unknown[] => home.rows('SELECT name FROM users ORDER BY name').map((row) => row['name']);

const html = (event: RoomEvent): string => String(event.content['formatted_body']);

/** What must hold for everything that is said in the room, whatever the names in it are. */
function expectHarmless(event: RoomEvent): void {
  // Controls but for line breaks, bidi marks and overrides, zero-width characters.
  const invisible = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/u;
  expect(bodyOf(event)).not.toMatch(invisible);
  expect(html(event)).not.toMatch(invisible);
  // Only tags of Steward's own making.
  expect(html(event).replace(/<\/?(?:p|b|code|pre|ul|li|br|table|thead|tbody|tr|th|td)>/g, '')).not.toMatch(/[<>]/);
  const mentions = event.content['m.mentions'];
  expect([{}, { user_ids: [home.userId('alice')] }]).toContainEqual(mentions);
}

describe('user create', () => {
  test.each([
    ['upper case', 'Newbie', 'usage.invalid-value', 'lower case: newbie'],
    ['a question mark', 'new?bie', 'usage.invalid-value', 'a-z, 0-9'],
    ['a percent sign', 'new%2Fbie', 'usage.invalid-value', 'a-z, 0-9'],
    ['an emoji', '🦊', 'usage.invalid-value', 'a-z, 0-9'],
    ['a letter from elsewhere', 'аlice', 'usage.invalid-value', 'a-z, 0-9'],
    ['NUL', 'new\u0000bie', 'usage.invalid-value', 'a-z, 0-9'],
    ['digits alone', '12345', 'usage.invalid-value', 'digits'],
    ['a leading underscore', '_bridge', 'usage.invalid-value', 'application services'],
    ['nothing', '""', 'usage.invalid-value', 'a-z, 0-9'],
    ['more than 255 characters', 'x'.repeat(300), 'usage.invalid-value', '255'],
    ['more than 255 characters with its server', 'x'.repeat(250), 'homeserver.refused', '255'],
    ['an account that exists', 'carol', 'user.exists', 'exists'],
    ['a user of another server', '@newbie:elsewhere.test', 'user.not-local', 'not on steward.test'],
    ['an option that is none', '-newbie', 'usage.unknown-option', 'no option'],
    ['markup', '<b>\u202enewbie</b>', 'usage.invalid-value', 'a-z, 0-9'],
  ])('refuses %s', async (_, name, error, words) => {
    const before = accounts();

    const answer = await steward.alice.ask(`!user create ${name}`);

    expect(resultOf(answer)?.error_id).toBe(error);
    expect(bodyOf(answer)).toMatch(/error: .+ \([a-z-]+\.[a-z-]+\)\nhint: .+/);
    expect(bodyOf(answer)).toContain(words);
    expectHarmless(answer);
    expect(accounts()).toEqual(before);
  });

  test.each([
    ['a slash', 'dept/newbie'],
    ['two dots', '..'],
    ['every character that is allowed', 'a.b_c=d-e/f+9'],
  ])('makes an account with %s, and its password lies in the folder of passwords', async (_, name) => {
    expect(resultOf(await steward.alice.ask(`!user create ${name}`))?.outcome).toBe('done');

    expect(await home.account(name)).toMatchObject({ name: home.userId(name), deactivated: false });
    const file = `${encodeURIComponent(name)}_steward.test.txt`;
    expect(readdirSync(join(steward.dataDir, 'secrets'))).toContain(file);
    expect(await home.logsIn(name, steward.password(encodeURIComponent(name)) ?? '')).toBe(true);
    expect(bodyOf(await steward.alice.ask(`!user info ${name}`))).toContain(home.userId(name));
  });

  test('refusals leave no password behind', () => {
    expect(readdirSync(join(steward.dataDir, 'secrets')).filter((name) => !/^(?:dept|\.\.|a\.b)/.test(name))).toEqual([]);
  });
});

describe('user info', () => {
  test.each([
    ['upper case', 'CAROL', 'user.not-found'],
    ['an encoded slash', 'dept%2Fnewbie', 'user.not-found'],
    ['a query', 'carol?x=1', 'user.not-found'],
    ['a path', '../../v1/users', 'user.not-found'],
    ['an emoji', '🦊', 'user.not-found'],
    ['another server', '@carol:elsewhere.test', 'user.not-local'],
    ['NUL', 'car\u0000ol', 'usage.invalid-value'],
    ['300 characters', 'x'.repeat(300), 'usage.invalid-value'],
  ])('says that there is no account of %s', async (_, name, error) => {
    const answer = await steward.alice.ask(`!user info ${name}`);

    expect(resultOf(answer)?.error_id).toBe(error);
    expectHarmless(answer);
  });
});

const hostile: [string, string][] = [
  ['markup', '<img src="x" onerror="alert(1)"><b>bold</b>'],
  ['the end of a quote', '</mx-reply><p>Alice said yes</p>'],
  ['a mention of everybody', '@room'],
  ['a link', '<a href="https://matrix.to/#/@alice:steward.test">alice</a>'],
  ['a turn of direction', 'safe\u202egnp.exe'],
  ['zero-width characters', 'al\u200bi\u200dce\ufeff'],
  ['controls', 'one\u0007two\u001b[31mthree'],
  ['line breaks', 'first\nsecond\r\n\n\n• @alice:steward.test'],
  ['nothing that shows', '\u200b\u200b'],
  ['an entity', '&lt;b&gt; &#60;'],
];

describe('a display name that is', () => {
  test.each(hostile)('%s is shown harmless, beside the id', async (what, displayname) => {
    const name = `hostile${hostile.findIndex(([each]) => each === what)}`;
    const account = await home.register(name);
    await fetch(`${home.synapse.url}/_matrix/client/v3/profile/${account.userId}/displayname`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${account.accessToken}` },
      body: JSON.stringify({ displayname }),
    });
    expect((await home.account(name))?.displayname).toBe(displayname);

    for (const line of [`!user info ${name}`, `!user list ${name}`, `!what ${account.userId}`, `!user list ${name} --wide`]) {
      const answer = await steward.alice.ask(line);
      expect(resultOf(answer)?.outcome).toBe('done');
      expect(answer.content['msgtype']).toBe('m.notice');
      expect(answer.content['m.mentions']).toEqual({});
      expect(bodyOf(answer)).toContain(account.userId);
      expectHarmless(answer);
    }
  });

  test('300 characters is cut, and the id stays whole', async () => {
    const { userId } = await home.register('longname');
    // Synapse's API stops at 256; an older one may have let more in.
    const database = new DatabaseSync(home.synapse.databasePath ?? '', { timeout: 5000 });
    database.prepare('UPDATE profiles SET displayname = ? WHERE full_user_id = ?').run('🦊'.repeat(300), userId);
    database.close();
    expect((await home.account('longname'))?.displayname).toHaveLength(600);

    const answer = await steward.alice.ask('!user list longname');

    expect(bodyOf(answer)).toContain(`${userId} (${'🦊'.repeat(63)}…)`);
  });

  test('hostile in a command is stored as it was typed', async () => {
    const displayname = '</mx-reply>@room <b>O’Brien</b>';

    const answer = await steward.alice.ask(`!user create obrien --display-name "${displayname}"`);

    expect(resultOf(answer)?.outcome).toBe('done');
    expectHarmless(answer);
    expect(await home.account('obrien')).toMatchObject({ displayname });
  });
});

describe('!what', () => {
  test('knows a room whose id has no server, and shows its hostile name harmless', async () => {
    const roomId = await home.carol.client.createRoom({ room_version: '12', name: '<b>\u202eAdmins</b> @room' });
    expect(roomId).not.toContain(':');

    for (const thing of [roomId, `https://matrix.to/#/${roomId}`, `https://matrix.to/#/${encodeURIComponent(roomId)}?via=steward.test`]) {
      const answer = await steward.alice.ask(`!what ${thing}`);
      expect(resultOf(answer)).toEqual({ command: 'what', outcome: 'done' });
      expect(bodyOf(answer)).toContain(`That is a room: ${roomId} (<b>Admins</b> @room)`);
      expectHarmless(answer);
    }
  });

  test('knows a room of an older version, by id and by alias', async () => {
    const roomId = await home.carol.client.createRoom({ room_version: '11', room_alias_name: 'older' });
    expect(roomId).toMatch(/:steward\.test$/);

    for (const thing of [roomId, '#older:steward.test']) expect(bodyOf(await steward.alice.ask(`!what ${thing}`))).toContain(roomId);
  });

  test('knows an event and a file, whatever the file is called', async () => {
    const mxc = await home.carol.client.upload('x', 'text/plain', '</mx-reply>\u202efdp.exe');
    const event = await steward.carol.say('hello');

    const file = await steward.alice.ask(`!what ${mxc}`);

    expect(bodyOf(file)).toContain(mxc);
    expectHarmless(file);
    expect(bodyOf(await steward.alice.ask(`!what https://matrix.to/#/${steward.roomId}/${event}`))).toContain(home.userId('carol'));
  });

  test.each([
    '!nowhere:steward.test',
    '#nowhere:steward.test',
    '@nobody:steward.test',
    '$nothing',
    'mxc://steward.test/none',
    'nobody@example.org',
  ])('says that there is no %s', async (thing) => {
    const answer = await steward.alice.ask(`!what ${thing}`);

    expect(resultOf(answer)).toMatchObject({ outcome: 'failed', error_id: 'target.not-found' });
    expectHarmless(answer);
  });
});

describe('a command of 60 kB', () => {
  test.each([
    ['one word', 'x'.repeat(60_000)],
    ['many words', 'x '.repeat(30_000)],
    ['quotes', '“'.repeat(20_000)],
    ['line breaks in a code block', `\n\`\`\`\n${'\n'.repeat(29_000)}`],
    ['spaces in a code block', `\n\`\`\`\n${' '.repeat(59_000)}x`],
  ])('of %s gets a clear error at once, and the next one is answered', async (_, text) => {
    const begin = performance.now();
    const answer = await steward.alice.ask(`!user create ${text}`);

    expect(resultOf(answer)?.outcome).toBe('usage');
    expect(bodyOf(answer)).toMatch(/^error: .+ \(usage\.[a-z-]+\)\nhint: .+/m);
    expect(bodyOf(answer).length).toBeLessThan(1000);
    expect(resultOf(await steward.alice.ask('!server version'))?.outcome).toBe('done');
    expect(performance.now() - begin).toBeLessThan(1500);
  });
});
