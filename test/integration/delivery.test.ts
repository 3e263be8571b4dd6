import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ageDecrypt, makeAgeKey } from '../../kit/age.ts';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { canMount, seenBy, withMounts } from './support/namespace.ts';
import { answeredBy, bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** How a new password reaches the person who asked, and what lies about meanwhile. */

jest.setTimeout(60_000);

let home: Homeserver;
let dir: string;
let recipient: string;

beforeAll(async () => {
  home = await Homeserver.start();
  dir = mkdtempSync(join(tmpdir(), 'steward-age-'));
  recipient = await makeAgeKey(join(dir, 'alice.key'));
});

afterEach(() => {
  home.proxy.assertAllReached();
});

afterAll(async () => {
  rmSync(dir, { recursive: true, force: true });
  await home.dispose();
});

/** A Steward whose store knows alice's age key. */
async function withKey(options: Parameters<Homeserver['steward']>[0] = {}): Promise<Steward> {
  const steward = await home.steward({ ...options, start: true });
  await steward.stop();
  inStore(steward, (store) => store.prepare('INSERT INTO age_recipients VALUES (?, ?, ?)').run('alice', recipient, Date.now()));
  await steward.start();
  return steward;
}

function inStore<T>(steward: Steward, work: (store: DatabaseSync) => T): T {
  const store = new DatabaseSync(join(steward.dataDir, 'steward.db'), { timeout: 5000 });
  try {
    return work(store);
  } finally {
    store.close();
  }
}

/** The age file under a command, opened by `age` with alice's key. */
async function opened(steward: Steward, said: string): Promise<string> {
  const event = await fileUnder(steward, said);
  const path = join(dir, `${event.event_id.slice(1, 12)}.age`);
  writeFileSync(path, await home.alice.client.download(String(event.content['url'])));
  return ageDecrypt(join(dir, 'alice.key'), path);
}

const fileUnder = (steward: Steward, said: string): Promise<RoomEvent> =>
  steward.alice.hears((_, event) => event.content['msgtype'] === 'm.file' && answeredBy(event) === said);

const passwordIn = (note: string): string => /^Password: (.*)$/m.exec(note)?.[1] ?? '';

const gone = (steward: Steward, localpart: string): Promise<unknown> =>
  until(() => steward.password(localpart) === null, 10_000, 'the password has gone from the host');

describe('with an age key of the person who asks', () => {
  let steward: Steward;

  beforeAll(async () => {
    steward = await withKey();
  });

  test.each([
    ['user create', 'aged1', () => Promise.resolve()],
    ['user update-password', 'aged2', () => home.register('aged2')],
    ['user reactivate', 'aged3', () => home.register('aged3').then(() => home.deactivate('aged3'))],
  ])('the password of `%s` comes as a file that only the key opens, and then no longer lies on the host', async (command, name, before) => {
    await before();

    const said = await steward.alice.say(`!${command} ${name} -y`);

    const answer = await steward.alice.answer(said);
    expect(resultOf(answer)).toMatchObject({ command, outcome: 'done' });
    expect(bodyOf(answer)).toContain(`password: in the age file that follows, for your key ${recipient}`);
    const note = await opened(steward, said);
    expect(note).toContain(`User ID: ${home.userId(name)}\n`);
    expect(note).not.toContain('Expires:');
    expect(await home.logsIn(name, passwordIn(note))).toBe(true);
    await gone(steward, name);
    expect(readdirSync(join(steward.dataDir, 'secrets'))).toEqual([]);
    expect(inStore(steward, (store) => store.prepare('SELECT * FROM handovers').all())).toEqual([]);
    expect(inStore(steward, (store) => store.prepare('SELECT * FROM deliveries').all())).toEqual([]);
  });

  test('the file comes after the answer, and both once', async () => {
    const said = await steward.alice.say('!user create aged4');
    await fileUnder(steward, said);
    await gone(steward, 'aged4');
    await steward.alice.ask('!server version');

    expect((await steward.alice.answers(said)).map((event) => event.content['msgtype'])).toEqual(['m.notice', 'm.file']);
  });

  test('many at once come as a file each', async () => {
    const said = await steward.alice.say('!user create -y\n```\nmany1\nmany2\nmany3\n```');
    expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
    for (const name of ['many1', 'many2', 'many3']) await gone(steward, name);

    const files = (await steward.alice.answers(said)).filter((event) => event.content['msgtype'] === 'm.file');
    expect(files.map((event) => event.content['filename']).sort()).toEqual([1, 2, 3].map((n) => `many${n}_steward.test.age`));
  });

  test('`--deliver file` leaves it on the host, and a later password that goes another way takes the file away', async () => {
    const answer = await steward.alice.ask('!user create aged5 --deliver file');
    expect(bodyOf(answer)).toMatch(/in the file \S+ until /);
    const first = steward.password('aged5') ?? '';
    expect(await home.logsIn('aged5', first)).toBe(true);

    const note = await opened(steward, await steward.alice.say('!user update-password aged5 -y'));

    expect(await home.logsIn('aged5', first)).toBe(false);
    expect(await home.logsIn('aged5', passwordIn(note))).toBe(true);
    await gone(steward, 'aged5');
  });

  test('somebody without one gets the file, and is told why', async () => {
    const answer = await steward.bob.ask('!user create aged6');

    expect(bodyOf(answer)).toMatch(/password: in the file \S+ until .* \(the admin room is not encrypted; no age key of bob\)/);
    expect(steward.password('aged6')).toMatch(/^\w{24}$/);
  });

  test('the shell, which is nobody, gets the file', async () => {
    const { exit, out } = await steward.shell('user', 'create', 'aged7');
    expect([exit, out]).toEqual([0, expect.stringMatching(/password: in the file \S+ until/)]);
    const asked = await steward.shell('user', 'create', 'aged8', '--deliver', 'age');
    expect(asked.out).toContain('(the shell names nobody whose age key it could be)');
    expect(steward.password('aged8')).toMatch(/^\w{24}$/);
  });

  test('`me age` shows it, and says what is no key', async () => {
    expect(bodyOf(await steward.alice.ask('!me age'))).toContain(`recipient: ${recipient}\nfingerprint: `);
    expect(bodyOf(await steward.bob.ask('!me age'))).toContain('You have no age key.');
    expect(bodyOf(await steward.bob.ask('!me age ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG bob@desk'))).toContain('SSH keys are not taken');
    expect(bodyOf(await steward.bob.ask(`!me age ${recipient.slice(0, -1)}`))).toContain('a letter of it is wrong or missing');
    expect(resultOf(await steward.bob.ask('!me age --remove'))?.error_id).toBe('me.no-age-key');
    expect((await steward.shell('me', 'age')).err).toContain('(me.nobody)');
  });

  test('nothing of the passwords is in what Steward keeps or says', async () => {
    const said = await steward.alice.say('!user create aged9');
    const password = passwordIn(await opened(steward, said));
    await gone(steward, 'aged9');
    expect(password).toMatch(/^\w{24}$/);

    const files = readdirSync(steward.dataDir, { recursive: true, withFileTypes: true })
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => statSync(path).isFile());
    expect(files.map((path) => path.slice(steward.dataDir.length + 1))).toEqual(expect.arrayContaining(['steward.db', 'steward.db-wal']));
    expect(files.filter((path) => readFileSync(path).includes(password))).toEqual([]);
    expect(steward.log).not.toContain(password);
    expect(JSON.stringify(await steward.alice.history())).not.toContain(password);
    expect((await steward.health('metrics')).body).not.toContain(password);
  });
});

describe('a file that the homeserver does not take', () => {
  test.each([
    ['for ever', { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'no uploads' } }],
    ['because of its size', { status: 413, body: { errcode: 'M_TOO_LARGE', error: 'too large' } }],
    ['because of a proxy', { status: 405, body: '<html><body><h1>405 Not Allowed</h1></body></html>' }],
  ])('%s leaves the password on the host, and that is told', async (_, action) => {
    const steward = await withKey({ proxied: true });
    const name = `refused${action.status}`;
    home.proxy.fault({ name: `no upload: ${action.status}`, match: ({ path }) => path.startsWith('/_matrix/media/v3/upload'), action });

    const said = await steward.alice.say(`!user create ${name}`);

    const told = await steward.alice.hears((body, event) => answeredBy(event) === said && body.includes('could not be handed over'));
    expect(told.content['m.mentions']).toEqual({ user_ids: [home.userId('alice')] });
    const path = join(steward.dataDir, 'secrets', `${name}_steward.test.txt`);
    expect(bodyOf(told)).toContain(`It is in the file ${path} until `);
    expect(await home.logsIn(name, steward.password(name) ?? '')).toBe(true);
    expect(inStore(steward, (store) => store.prepare('SELECT * FROM handovers').all())).toEqual([]);
    await steward.stop();
  });
});

describe('a kill', () => {
  test.each([
    ['while the file is uploaded', '/_matrix/media/v3/upload', 'POST'],
    ['while the message about it is sent', '/send/m.room.message/', 'PUT'],
  ])('%s loses nothing: it comes once after the start, and goes from the host then', async (when, part, method) => {
    const steward = await withKey({ proxied: true });
    const name = `killed${when.length}`;
    let uploads = 0;
    const hang = home.proxy.fault({
      name: when,
      match: ({ method: used, path }) => {
        if (path.startsWith('/_matrix/media/v3/upload')) uploads += 1;
        return used === method && path.includes(part) && uploads > 0;
      },
      action: 'hang',
    });
    const said = await steward.alice.say(`!user create ${name}`);
    expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
    await until(() => hang.hits > 0, 10_000, 'it is under way');

    await steward.kill();
    const kept = steward.password(name) ?? '';
    expect(await home.logsIn(name, kept)).toBe(true);
    await steward.start();

    expect(passwordIn(await opened(steward, said))).toBe(kept);
    await gone(steward, name);
    await steward.alice.ask('!server version');
    expect((await steward.alice.answers(said)).filter((event) => event.content['msgtype'] === 'm.file')).toHaveLength(1);
    await steward.stop();
  });

  test('after the password was set and before the answer: the account is found, and the file comes', async () => {
    const steward = await withKey({ proxied: true });
    let isPut = false;
    const look = home.proxy.fault({
      name: 'the account is not looked at',
      match: ({ method, path }) => {
        if (!path.endsWith(encodeURIComponent(home.userId('midway')))) return false;
        if (method === 'PUT') isPut = true;
        return method === 'GET' && isPut;
      },
      action: 'hang',
    });
    const said = await steward.alice.say('!user create midway');
    await until(() => look.hits === 1, 10_000, 'the account is looked at');
    await steward.kill();
    const kept = steward.password('midway') ?? '';
    await steward.start();

    expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
    expect(passwordIn(await opened(steward, said))).toBe(kept);
    expect(await home.logsIn('midway', kept)).toBe(true);
    await gone(steward, 'midway');
    await steward.stop();
  });
});

(canMount ? test : test.skip)('with no space for the age file the password stays on the host until there is', async () => {
  const steward = await withKey();
  await steward.stop();
  const exports = join(steward.dataDir, 'exports');
  await steward.start('ready', withMounts(`mkdir -p '${exports}' && mount -t tmpfs -o size=64k,mode=700 tmpfs '${exports}'`));
  const filler = seenBy(steward.pid, join(exports, 'filler'));
  expect(() => {
    writeFileSync(filler, Buffer.alloc(100_000));
  }).toThrow('ENOSPC');

  const said = await steward.alice.say('!user create crowded');
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  await until(() => steward.log.includes('could not be handed over yet'), 10_000, 'it was tried');
  expect(await home.logsIn('crowded', steward.password('crowded') ?? '')).toBe(true);
  rmSync(filler);

  expect(await home.logsIn('crowded', passwordIn(await opened(steward, said)))).toBe(true);
  await gone(steward, 'crowded');
  await steward.stop();
});
