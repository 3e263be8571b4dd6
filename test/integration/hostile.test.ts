import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { answeredBy, bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** Names and lines that somebody chose to do harm with, where they come back: in prompts, errors and files. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward();
});

afterAll(() => home.dispose());

const sentinel = '!server version';

describe('an account', () => {
  test('that exists deactivated is not made again, and the answer says how to bring it back', async () => {
    await home.register('gone');
    await home.deactivate('gone');

    const answer = await steward.alice.ask('!user create gone');

    expect(resultOf(answer)).toMatchObject({ outcome: 'refused', error_id: 'user.exists' });
    expect(bodyOf(answer)).toBe(
      'error: cannot create @gone:steward.test: an account of that name exists, deactivated (user.exists)\n' +
        'hint: !user reactivate @gone:steward.test brings it back.',
    );
    expect(await home.account('gone')).toMatchObject({ deactivated: true });
  });

  test.each(['dept/it/helga', 'a=b=c', 'x..y'])('named %s is made, shown, given a new password and brought back', async (name) => {
    const userId = home.userId(name);
    const done = { outcome: 'done' };
    expect(resultOf(await steward.alice.ask(`!user create ${name} --display-name Helga`))).toMatchObject(done);
    expect(await home.account(name)).toMatchObject({ name: userId, displayname: 'Helga', deactivated: false });

    const info = await steward.alice.ask(`!user info ${userId}`);
    expect(bodyOf(info)).toContain(`${userId} (Helga)`);

    const first = password(userId);
    expect(resultOf(await steward.alice.ask(`!user update-password ${name} -y`))).toMatchObject(done);
    expect(await home.logsIn(userId, first)).toBe(false);
    expect(await home.logsIn(userId, password(userId))).toBe(true);

    await home.deactivate(name);
    expect(resultOf(await steward.alice.ask(`!user reactivate ${name}`))).toMatchObject(done);
    expect(await home.account(name)).toMatchObject({ name: userId, deactivated: false });
    expect(await home.logsIn(userId, password(userId))).toBe(true);
  });

  function password(userId: string): string {
    const file = join(steward.dataDir, 'secrets', `${encodeURIComponent(userId.slice(1)).replace('%3A', '_')}.txt`);
    return /^Password: (.*)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? '';
  }
});

describe('in a prompt, its answer and an error', () => {
  const hostile: [string, string, string][] = [
    ['markup', '</mx-reply><b onclick=x>@room</b>', '</mx-reply><b onclick=x>@room</b>'],
    ['a turn of direction', 'al\u202eice\u2066\u200b\u0007', 'alice'],
    ['a line of its own', 'Bob\nerror: all accounts are deleted', 'Bob error: all accounts are deleted'],
  ];

  test.each(hostile)('a display name of %s is shown harmless', async (what, displayname, shown) => {
    const name = `prompt${hostile.findIndex(([each]) => each === what)}`;
    const userId = home.userId(name);
    await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(userId)}`, {
      password: 'Xk3-irrelevant',
      displayname,
    });
    expect((await home.account(name))?.displayname).toBe(displayname);

    const said = await steward.alice.say(`!user update-password ${name}`);
    const prompt = await steward.alice.prompt(said);
    await steward.alice.react(prompt.event_id, '❌');
    const declined = await steward.alice.answer(said);
    const error = await steward.alice.prompt(await steward.alice.say(`!user deactivate ${name}`));
    const bulk = await steward.alice.ask(`!user update-password -y\n\`\`\`\n${name}\n\`\`\``);

    const html = shown.replaceAll('<', '&lt;').replaceAll('>', '&gt;');
    for (const event of [prompt, bulk]) {
      expect(bodyOf(event)).toContain(`${userId} (${shown})`);
      expect(String(event.content['formatted_body'])).toContain(html);
    }
    for (const event of [prompt, declined, error, bulk]) {
      expect(String(event.content['formatted_body']).replace(/<\/?(?:p|b|code|ul|li|br)>/g, '')).not.toMatch(/[<>]/);
      expect(`${bodyOf(event)}${String(event.content['formatted_body'])}`).not.toMatch(
        /[\u0000-\u0009\u000b-\u001f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/u,
      );
      expect([{}, { user_ids: [home.userId('alice')] }, { user_ids: [home.userId('bob')] }]).toContainEqual(event.content['m.mentions']);
    }
    expect(resultOf(error)?.outcome).toBe('waiting');
  });

  test('no cell of a list in CSV is a formula', async () => {
    const names = [
      '=1+1',
      '+1',
      '-1',
      '@SUM(A1)',
      '\t=1',
      '\r=1',
      '\n=1',
      ' =1',
      '\uff1d1',
      '"=1"',
      '\u200b=1',
      ';=1',
      '=cmd|"/c calc"!A0',
    ];
    for (const [n, displayname] of names.entries())
      await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(home.userId(`cell${n}`))}`, { displayname });
    const said = await steward.alice.say('!user list cell --csv');

    const file = await steward.alice.hears((_, event) => event.content['msgtype'] === 'm.file' && answeredBy(event) === said);
    const text = (await home.alice.client.download(String(file.content['url']))).toString();

    const rows = cellsOf(text);
    expect(rows).toHaveLength(names.length + 1);
    for (const cell of rows.slice(1).flatMap((row) => row.slice(1)))
      expect(cell.replace(/^[\s\u200b]+/u, '')).not.toMatch(/^[=+\-@\uff1d]/);
  });
});

/** The cells of a CSV file, by RFC 4180. */
function cellsOf(csv: string): string[][] {
  const rows: string[][] = [[]];
  for (const [whole, quoted, plain = '', end = ''] of csv.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n|$)/g)) {
    if (whole === '') break;
    rows.at(-1)?.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === '\n') rows.push([]);
  }
  return rows.filter((row) => row.length > 0);
}

describe('!what', () => {
  test('knows whose an e-mail address is', async () => {
    await steward.alice.ask('!user create mailed --email Mailed@Example.org');

    const answer = await steward.alice.ask('!what mailed@EXAMPLE.org');

    expect(resultOf(answer)).toEqual({ command: 'what', outcome: 'done' });
    expect(bodyOf(answer)).toContain('belongs to: @mailed:steward.test');
  });

  test.each([
    ['hello', 'usage.invalid-value'],
    ['@', 'usage.invalid-value'],
    ['!', 'target.not-found'],
    ['#', 'usage.invalid-value'],
    ['$', 'target.not-found'],
    ['@nobody', 'target.not-found'],
    ['mxc://', 'usage.invalid-value'],
    ['mxc://a/b/c', 'usage.invalid-value'],
    ['https://example.org/', 'usage.invalid-value'],
    ['https://matrix.to/#/', 'usage.invalid-value'],
    ['https://matrix.to/#/%ZZ', 'usage.invalid-value'],
    ['../..', 'usage.invalid-value'],
    ['@a b', 'usage.extra-argument'],
    ['"a b"', 'usage.invalid-value'],
  ])('says of %s that it knows no such thing', async (thing, error) => {
    const answer = await steward.alice.ask(`!what ${thing}`);

    expect(resultOf(answer)?.error_id).toBe(error);
    expect(bodyOf(answer)).toMatch(/^error: .+ \([a-z-]+\.[a-z-]+\)\nhint: .+$/m);
  });
});

test.each([
  'help __proto__',
  'help constructor',
  '__proto__',
  'constructor',
  'help error constructor',
  'help error __proto__',
  'help search __proto__',
  'user __proto__',
  'user list --__proto__ x',
  'user list --constructor=x',
  'user list --order-by=constructor',
])('!%s is an ordinary mistake', async (line) => {
  const said = await steward.alice.say(`!${line}`);
  if (line.startsWith('_')) {
    await steward.alice.ask(sentinel);
    expect(await steward.alice.answers(said)).toEqual([]);
    return;
  }
  const answer = await steward.alice.answer(said);
  expect(resultOf(answer)?.outcome).toBe('usage');
  expect(bodyOf(answer)).toMatch(/^error: .+ \(usage\.[a-z-]+\)\nhint: .+$/m);
});

describe('what is far too long', () => {
  const isShort = (answer: RoomEvent): void => {
    expect(resultOf(answer)?.outcome).toBe('usage');
    expect(bodyOf(answer)).toMatch(/error: .+ \(usage\.[a-z-]+\)\nhint: .+/);
    expect(JSON.stringify(answer.content).length).toBeLessThan(4000);
  };

  test('a command of 64 kB, as far as an event carries it', async () => {
    const answer = await steward.alice.ask(`!user list ${'a'.repeat(64_500)}`);

    isShort(answer);
    expect(resultOf(answer)?.error_id).toBe('usage.too-long');
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  });

  test('a block of 10 000 lines', async () => {
    isShort(await steward.alice.ask(`!user create -y\n\`\`\`\n${'a1\n'.repeat(10_001)}\`\`\``));

    expect(await home.account('a1')).toBeNull();
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  });

  test.each([
    ['1 MB of lines', 'a1\n'.repeat(350_000), 'usage.input-too-large'],
    ['1 MB in one line', 'b'.repeat(1_050_000), 'usage.input-too-large'],
    ['one line that is as long as a file may be', 'c'.repeat(999_999), 'usage.invalid-value'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0x0a, 0xc3, 0x28, 0x0a]), 'usage.invalid-value'],
  ])('a file of %s', async (_, bytes, error) => {
    const file = await home.alice.client.sendFile(steward.roomId, {
      name: 'list.txt',
      bytes,
      contentType: 'text/plain',
      caption: '!user create -y',
    });

    const answer = await steward.alice.answer(file);
    isShort(answer);
    expect(resultOf(answer)?.error_id).toBe(error);

    expect(home.rows("SELECT name FROM users WHERE name LIKE '@a1%' OR name LIKE '@bb%'")).toEqual([]);
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  });

  test('a code block of 1 MB in the shell', async () => {
    const path = join(steward.dir, 'list.txt');
    writeFileSync(path, 'a1\n'.repeat(350_000));

    const ended = await steward.shell('user', 'create', '--yes', '--input', path);

    expect(ended).toMatchObject({ exit: 2, out: '', err: expect.stringContaining('(usage.input-too-large)') });
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  });
});
