import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Homeserver } from './support/homeserver.ts';
import { answeredBy, bodyOf, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook, type Webhook } from './support/webhook.ts';

/** Where secrets are, and where they must never be. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;
let hook: Webhook;
/** Everything planted, by what it is. */
const planted = new Map<string, string>();

beforeAll(async () => {
  home = await Homeserver.start();
  hook = await openWebhook();
  steward = await home.steward({ start: false, config: { alerts: { webhook: { url_file: 'secrets/hook' } } } });
  steward.putSecret('hook', hook.url);
  planted.set("the bot's token", steward.bot.accessToken);
  planted.set('the address of the web hook', hook.url);
  await steward.start();
});

afterAll(async () => {
  hook.close();
  await home.dispose();
});

const sentinel = '!server version';

/** Every file below a folder. */
function filesOf(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true }).map((entry) => join(entry.parentPath, entry.name));
}

/** Keeps a password that Steward has made. */
function plantGenerated(name: string): string {
  const password = steward.password(name) ?? '';
  expect(password).toMatch(/^[A-Za-z0-9]{24}$/);
  planted.set(`a password of ${name}, ${planted.size}`, password);
  return password;
}

describe('a generated password', () => {
  test.each([
    ['user create', (name: string) => steward.alice.ask(`!user create ${name}`)],
    ['user update-password', (name: string) => home.register(name).then(() => steward.alice.ask(`!user update-password ${name} -y`))],
    [
      'user reactivate',
      (name: string) =>
        home
          .register(name)
          .then(() => home.deactivate(name))
          .then(() => steward.alice.ask(`!user reactivate ${name}`)),
    ],
  ])('of `%s` lies on the host for its owner alone, logs in, and is not in the answer', async (command, run) => {
    const name = command.replace(/\W/g, '');

    const answer = await run(name);

    expect(resultOf(answer)).toMatchObject({ command, outcome: 'done' });
    const password = plantGenerated(name);
    expect(await home.logsIn(name, password)).toBe(true);
    const path = join(steward.dataDir, 'secrets', `${name}_steward.test.txt`);
    expect(bodyOf(answer)).toContain(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).toMatch(
      new RegExp(`^User ID: ${home.userId(name)}\nPassword: ${password}\nHomeserver: ${home.synapse.url}$`, 'm'),
    );
  });

  test('is told once to the host when it is set again: the older one is gone', async () => {
    await steward.alice.ask('!user create renewed');
    const first = plantGenerated('renewed');
    await steward.alice.ask('!user update-password renewed -y');
    const second = plantGenerated('renewed');

    expect(second).not.toBe(first);
    expect([await home.logsIn('renewed', first), await home.logsIn('renewed', second)]).toEqual([false, true]);
    const holding = filesOf(steward.dataDir).filter((path) => statSync(path).isFile() && readFileSync(path).includes(first));
    expect(holding).toEqual([]);
  });

  test('is removed when its time is over', async () => {
    const brief = await home.steward({ config: { secrets: { file: { expire: '1s' } } } });
    await brief.alice.ask('!user create brief');
    expect(brief.password('brief')).not.toBeNull();
    await brief.stop();
    await sleep(1100);
    await brief.start();

    await until(() => brief.password('brief') === null, 5000, 'the file is removed');

    expect(readdirSync(join(brief.dataDir, 'secrets'))).toEqual([]);
    await brief.stop();
  });
});

test('a password from a file, given in the shell, is set and kept nowhere', async () => {
  const password = 'given-in-the-shell-5Hq2';
  planted.set('a password given in the shell', password);
  steward.putSecret('given', `${password}\n`);

  expect(await steward.shell('user', 'create', 'given', '--password-file', join(steward.dir, 'secrets/given'))).toMatchObject({ exit: 0 });

  expect(await home.logsIn('given', password)).toBe(true);
  expect(steward.password('given')).toBeNull();
});

describe('a secret that is typed', () => {
  const typed: [string, string, string][] = [
    ['a password with -p', '!user create typed1 -p Typed1Secret', 'Typed1Secret'],
    ['a password with --password=', '!user create typed2 --password=Typed2Secret', 'Typed2Secret'],
    ['a password on the next line', '!user create typed3 -p\nTyped3Secret', 'Typed3Secret'],
    ['an access token', '!what syt_dHlwZWQ_typed4tokenABCDEFGH_1abcde', 'syt_dHlwZWQ_typed4tokenABCDEFGH_1abcde'],
    ['a key of age', '!what AGE-SECRET-KEY-1TYPED5SECRETTYPED5SECRET', 'AGE-SECRET-KEY-1TYPED5SECRETTYPED5SECRET'],
    ['a password in a command that does not exist', '!usr crate typed6 -p Typed6Secret', 'Typed6Secret'],
    ['a password as a bare word', '!user create typed12 Typed12Secret', 'Typed12Secret'],
    ['a password as a bare word after a name with a slip', '!user update-pasword typed13 Typed13Secret', 'Typed13Secret'],
    ['a password in a code block', '!user create -y\n```\ntyped14 Typed14Secret\n```', 'Typed14Secret'],
    [
      'a recovery key',
      '!what EsTc 5jQc 8YrD WwkR 1Ppd aUm9 cJ3b 7zGf Kn2V xHtA L4sM eE6q',
      'EsTc 5jQc 8YrD WwkR 1Ppd aUm9 cJ3b 7zGf Kn2V xHtA L4sM eE6q',
    ],
    ['the shared secret of Synapse', '!what registration_shared_secret: Typed15Secret', 'Typed15Secret'],
  ];

  /** Waits until an event has no content any more, for anybody in the room. */
  async function removed(eventId: string): Promise<void> {
    await until(
      async () => JSON.stringify((await steward.alice.history()).find((event) => event.event_id === eventId)?.content) === '{}',
      5000,
      'the message is removed',
    );
  }

  test.each(typed)('%s is removed from the room, not run, and answered without a quote', async (_, line, secret) => {
    planted.set(`typed: ${line.slice(0, 18)}`, secret);
    const logBefore = (await steward.alice.history()).length;

    const said = await steward.alice.say(line);
    await removed(said);
    await steward.alice.ask(sentinel);

    const since = (await steward.alice.history())
      .slice(logBefore)
      .filter((event) => event.sender === steward.bot.userId && event.type === 'm.room.message');
    expect(since.map((event) => resultOf(event)?.error_id)).toEqual(['usage.secret-in-command', undefined]);
    expect(since[0]?.content['m.mentions']).toEqual({ user_ids: [home.userId('alice')] });
    expect(answeredBy(since[0] as never)).toBeNull();
    expect(home.rows("SELECT name FROM users WHERE name LIKE '@typed%'")).toEqual([]);
  });

  test('as an edit is removed too', async () => {
    planted.set('typed into an edit', 'Typed7Secret');
    const said = await steward.alice.say('!user list carol');
    await steward.alice.answer(said);

    await removed(await steward.alice.client.edit(steward.roomId, said, '!user create typed7 -p Typed7Secret'));

    expect(await home.account('typed7')).toBeNull();
  });

  test('as the caption of a file is removed too', async () => {
    planted.set('typed as a caption', 'Typed8Secret');

    await removed(
      await home.alice.client.sendFile(steward.roomId, { name: 'names.txt', bytes: 'typed8', caption: '!user create -y -p Typed8Secret' }),
    );

    expect(await home.account('typed8')).toBeNull();
  });

  test('in a file of names is removed with the message that has the file', async () => {
    planted.set('typed into a file', 'Typed16Secret');

    await removed(
      await home.alice.client.sendFile(steward.roomId, {
        name: 'names.txt',
        bytes: 'typed16 Typed16Secret\n',
        caption: '!user create -y',
      }),
    );

    expect(await home.account('typed16')).toBeNull();
  });

  test('where Steward may not remove messages is told plainly', async () => {
    planted.set('typed where it stays', 'Typed17Secret');
    const weak = await home.steward();
    const levels = await weak.alice.client.getState(weak.roomId, 'm.room.power_levels');
    await weak.client.setState(weak.roomId, 'm.room.power_levels', { ...levels, users: {} });

    await weak.bob.say('!user create typed17 -p Typed17Secret');

    const told = await weak.bob.hears((_, event) => resultOf(event)?.error_id === 'room.not-removed');
    expect(told.content['m.mentions']).toEqual({ user_ids: [home.userId('bob')] });
    expect(bodyOf(told)).not.toContain('Typed17Secret');
    expect(await home.account('typed17')).toBeNull();
    await weak.stop();
  });

  test('while Steward was away is removed when it comes back, and not listed', async () => {
    planted.set('typed while away', 'Typed9Secret');
    await steward.stop();
    const said = await steward.alice.say('!user create typed9 -p Typed9Secret');
    await steward.start();

    await removed(said);

    expect(await home.account('typed9')).toBeNull();
  });

  test('by somebody without a role is removed too', async () => {
    planted.set('typed by a stranger', 'Typed10Secret');

    await removed(await steward.carol.say('!user create typed10 -p Typed10Secret'));

    expect(await home.account('typed10')).toBeNull();
  });

  test('as an argument of the shell is refused', async () => {
    planted.set('typed in the shell', 'Typed11Secret');

    const { exit, out, err } = await steward.shell('user', 'create', 'typed11', '-p', 'Typed11Secret');

    expect({ exit, out }).toEqual({ exit: 2, out: '' });
    expect(err).toContain('(usage.secret-in-command)');
    expect(err).not.toContain('Typed11Secret');
    expect(await home.account('typed11')).toBeNull();
  });
});

test('failures of every kind have been logged', async () => {
  expect(resultOf(await steward.alice.ask('!user create logged'))?.outcome).toBe('done');
  plantGenerated('logged');
  // The web hook is gone, the token is dead, and then Synapse is gone too.
  hook.close();
  await home.alice.client.request(
    'DELETE',
    `/_synapse/admin/v2/users/${encodeURIComponent(steward.bot.userId)}/devices/${steward.bot.deviceId}`,
  );
  await steward.becomes(503, 40_000);
  await steward.alice.say('!user create unheard');
  expect((await steward.shell('user', 'create', 'unheard')).exit).toBe(1);
  await until(() => steward.log.includes('an alert could not be delivered'), 15_000, 'the alert has failed');

  for (const part of ['"degraded"', 'homeserver.unknown-token', 'alert.not-delivered']) expect(steward.log).toContain(part);
});

describe('no planted secret is', () => {
  /** The planted secrets that stand in a text, by what they are. */
  function found(text: string | Buffer): string[] {
    return [...planted].flatMap(([what, secret]) => (text.includes(secret) ? [what] : []));
  }

  test('left out of this search', () => {
    expect(planted.size).toBeGreaterThan(16);
    expect(found([...planted.values()].join(' '))).toHaveLength(planted.size);
    expect(
      found(
        filesOf(steward.dir)
          .filter((path) => statSync(path).isFile())
          .map((path) => readFileSync(path, 'latin1'))
          .join('\n'),
      ),
    ).toEqual(expect.arrayContaining(["the bot's token", 'the address of the web hook', 'a password given in the shell']));
  });

  test('in the log, at its most talkative', () => {
    expect(steward.log.split('\n').length).toBeGreaterThan(5);
    expect(steward.log).toContain('"level":"debug"');
    expect(found(steward.log)).toEqual([]);
  });

  test('in the store, its journal or any other file of Steward but the folder of passwords', () => {
    const files = filesOf(steward.dataDir).filter((path) => statSync(path).isFile() && !path.startsWith(join(steward.dataDir, 'secrets/')));
    expect(files.map((path) => path.slice(steward.dataDir.length + 1))).toEqual(expect.arrayContaining(['steward.db', 'steward.db-wal']));
    expect(readFileSync(join(steward.dataDir, 'steward.db-wal')).includes('user create')).toBe(true);
    for (const path of files) expect([path, found(readFileSync(path))]).toEqual([path, []]);
  });

  test('in any event of the room', async () => {
    const events = JSON.stringify(await steward.alice.history());
    expect(events).toContain('usage.secret-in-command');
    expect(found(events)).toEqual([]);
  });

  test('in the metrics', async () => {
    const { body } = await steward.health('metrics');
    expect(body).toContain('steward_commands_total{command="user create"');
    expect(found(body)).toEqual([]);
  });

  test('among the words that the process was started with', () => {
    expect(found(readFileSync(`/proc/${steward.pid}/cmdline`))).toEqual([]);
  });
});

test('every file of Steward is for its owner alone, and every folder', () => {
  const modes = [steward.dataDir, ...filesOf(steward.dataDir)].map((path) => {
    const stats = statSync(path);
    return [path, stats.isDirectory() ? 'folder' : 'file', (stats.mode & 0o777).toString(8)];
  });

  expect(modes.map(([path]) => path?.slice(steward.dataDir.length))).toEqual(
    expect.arrayContaining(['/steward.db', '/steward.db-wal', '/steward.lock', '/steward.sock', '/secrets']),
  );
  expect(modes.filter(([, kind, mode]) => mode !== (kind === 'folder' ? '700' : '600'))).toEqual([]);
});

test('what was removed from the room was removed by Steward, with a reason that repeats nothing', async () => {
  const redactions = (await steward.alice.history()).filter(
    (event) => event.type === 'm.room.redaction' && event.sender === steward.bot.userId,
  );

  expect(redactions.length).toBeGreaterThanOrEqual(9);
  expect([...new Set(redactions.map((event) => event.content['reason']))]).toEqual(['it held a secret']);
  expect(redactions.map((event) => relationOf(event))).toEqual(redactions.map(() => ({})));
});
