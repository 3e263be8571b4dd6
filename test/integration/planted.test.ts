import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { Homeserver } from './support/homeserver.ts';
import { canMount, seenBy, withMounts } from './support/namespace.ts';
import { answeredBy, bodyOf, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Secrets are where they belong and nowhere else. They are planted, and looked for in everything that a run leaves behind. */

jest.setTimeout(60_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterEach(() => {
  home.proxy.assertAllReached();
});

afterAll(() => home.dispose());

const sentinel = '!server version';

/** All files below a folder, by their path in it. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}

describe('of a whole run with failures and a crash', () => {
  let steward: Steward;
  let receiver: Server;
  let alerts = 0;
  const planted = new Map<string, string>();
  /** What the run has left, by where it was found. */
  const left = new Map<string, string>();

  const shell = async (...words: string[]): Promise<void> => {
    const { out, err } = await steward.shell(...words);
    left.set(`shell: ${words.join(' ')}`, out + err);
  };

  const failing = (what: string, body: unknown, status = 500): void => {
    home.proxy.fault({
      name: `${status} for ${what}`,
      match: ({ method, path }) => method === 'PUT' && path.endsWith(encodeURIComponent(home.userId(what))),
      action: { status, body },
    });
  };

  beforeAll(async () => {
    receiver = createServer((_, response) => {
      alerts += 1;
      response.writeHead(404).end('no such hook');
    });
    await new Promise<void>((done) => receiver.listen(0, '127.0.0.1', done));
    const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook/planted-hook-4f1c`;

    steward = await home.steward({ proxied: true, start: false });
    steward.putSecret('hook', hook);
    steward.configure({ alerts: { webhook: { url_file: 'secrets/hook' } } });
    planted.set('the path of the web hook', 'planted-hook-4f1c');
    planted.set('the access token', steward.bot.accessToken);
    await steward.start();
    const { alice, bob } = steward;

    // Commands that work, each with a password.
    await alice.ask('!user create planted1');
    planted.set('a generated password', steward.password('planted1') ?? '');
    await alice.ask('!user update-password planted1 -y');
    planted.set('the password after it', steward.password('planted1') ?? '');
    await shell('user', 'create', 'planted2', '--json');
    planted.set('a password generated for the shell', steward.password('planted2') ?? '');
    const given = join(steward.dir, 'secrets', 'given');
    writeFileSync(given, 'planted-given-77aa', { mode: 0o600 });
    planted.set('a password given in the shell', 'planted-given-77aa');
    await shell('user', 'create', 'planted3', '--password-file', given);
    await shell('user', 'update-password', 'planted1', '--yes', '--password-file', given);
    await alice.ask('!user list --csv');

    // Commands that fail, in the room and in the shell, with bodies that say too much.
    failing('planted4', { errcode: 'M_UNKNOWN', error: 'boom' });
    await alice.ask('!user create planted4');
    failing('planted5', '<html>planted5</html>', 502);
    await shell('user', 'create', 'planted5', '--password-file', given);
    failing('planted6', { errcode: 'M_INVALID_PARAM', error: 'no' }, 400);
    await alice.ask('!user create planted6');
    await shell('user', 'create', 'planted1', '--password-file', given, '--json');
    await shell('user', 'create', 'planted7', '--password', 'planted-argv-31bd');
    planted.set('a password on the command line', 'planted-argv-31bd');

    // Passwords that are typed in the room, as people type them.
    const typed = [
      '!user create typed1 -p planted-typed-a1',
      '!user create typed2 -pplanted-typed-a2',
      '!user create typed3 --password=planted-typed-a3',
      '!user create typed4 \u2014password planted-typed-a4',
      '!user update-password planted2 password: planted-typed-a5',
      '!user create -y\n```\ntyped6 -p planted-typed-a6\n```',
    ];
    for (const line of typed) {
      const said = await bob.say(line);
      await until(async () => (await contentOf(said))['body'] === undefined, 10_000, `redacted: ${line}`);
    }
    planted.set('a password typed in the room', 'planted-typed-a');

    // A crash while a password is on its way.
    const crash = home.proxy.fault({
      name: 'no answer',
      match: ({ method, path }) => method === 'PUT' && path.endsWith(encodeURIComponent(home.userId('planted8'))),
      action: 'hang',
    });
    const crashed = await alice.say('!user create planted8');
    await until(() => crash.hits === 1, 10_000, 'the homeserver is told to make the account');
    await steward.kill();
    planted.set('a password that was on its way', steward.password('planted8') ?? '');
    await steward.start();
    await alice.answer(crashed);

    // A token that dies, of which the web hook is told.
    steward.putToken('syt_planted_dead_9c2e');
    planted.set('a dead token', 'syt_planted_dead_9c2e');
    steward.reload();
    await steward.becomes(503, 40_000);
    await until(() => alerts > 0, 10_000, 'the alert is sent');
    await shell('user', 'list');
    left.set('/readyz, degraded', (await steward.health('readyz')).body);
    steward.putToken(steward.bot.accessToken);
    steward.reload();
    await steward.becomes(200);
    await alice.ask(sentinel);

    for (const path of ['readyz', 'livez', 'metrics'] as const) left.set(`/${path}`, (await steward.health(path)).body);
    left.set('the events of the room', JSON.stringify(await alice.history()));
    collect('while it runs');
    await steward.stop();
    collect('after it has stopped');
    left.set('the log', steward.log);
  });

  afterAll(() => {
    receiver.close();
  });

  async function contentOf(eventId: string): Promise<Record<string, unknown>> {
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/event/${encodeURIComponent(eventId)}`;
    return (await home.alice.client.request<{ content: Record<string, unknown> }>('GET', path)).content;
  }

  /** Every file of the data folder but the passwords' own. */
  function collect(when: string): void {
    for (const file of filesOf(steward.dataDir)) {
      const path = join(steward.dataDir, file);
      if (lstatSync(path).isFile() && !file.startsWith('secrets/')) left.set(`${file}, ${when}`, readFileSync(path, 'latin1'));
    }
  }

  test('none is found in what it wrote, said and kept', () => {
    const found: string[] = [];
    for (const [where, content] of left)
      for (const [what, secret] of planted) {
        expect(secret.length).toBeGreaterThan(12);
        const forms = [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(0, -1)];
        if (forms.some((form) => content.includes(form))) found.push(`${what} in ${where}`);
      }

    expect(found).toEqual([]);
    expect(new Set(planted.values()).size).toBe(planted.size);
    // All of the run was looked at: these names are in there.
    for (const [where, name] of [
      ['the log', 'a step failed'],
      ['the log', 'an alert could not be delivered'],
      ['the log', 'a job was cut off'],
      ['the events of the room', 'planted8'],
      ['steward.db-wal, while it runs', 'planted8'],
      [`audit/${new Date().toISOString().slice(0, 7)}.jsonl, after it has stopped`, 'planted8'],
      [`audit/${new Date().toISOString().slice(0, 7)}.jsonl, after it has stopped`, 'secret.removed'],
      ['steward.db, after it has stopped', 'planted8'],
      ['/metrics', 'steward_'],
      ['shell: user list', 'homeserver.unknown-token'],
      ['shell: user create planted2 --json', 'planted2'],
    ] as const)
      expect([where, left.get(where)]).toEqual([where, expect.stringContaining(name)]);
    expect([...left.keys()]).toContain('steward.db-shm, while it runs');
  });

  test('a message with a password in it is taken away, not run, and answered without pointing at it', async () => {
    const history = await steward.alice.history();
    const answers = history.filter((event) => resultOf(event)?.error_id === 'usage.secret-in-command');

    expect(answers).toHaveLength(6);
    for (const answer of answers) {
      expect(relationOf(answer)).toEqual({});
      expect(bodyOf(answer)).toBe(
        'error: the message held a password or token; it was not run (usage.secret-in-command)\n' +
          'hint: Leave the password out: Steward makes one. Rotate the one that was typed.',
      );
      expect(answer.content['m.mentions']).toEqual({ user_ids: [home.userId('bob')] });
    }
    expect(history.filter((event) => event.type === 'm.room.redaction' && event.content['reason'] === 'it held a secret')).toHaveLength(6);
    for (const name of ['typed1', 'typed2', 'typed3', 'typed4', 'typed6']) expect(await home.account(name)).toBeNull();
  });
});

test('nobody else on the machine can read what lies in the data folder', async () => {
  const steward = await home.steward();
  await steward.alice.ask('!user create modes1');
  const said = await steward.alice.say('!user list --json');
  await steward.alice.hears((_, event) => event.content['msgtype'] === 'm.file' && answeredBy(event) === said);
  await until(() => readdirSync(join(steward.dataDir, 'exports')).length === 0, 5000, 'the file has gone');
  await steward.shell('help');

  const modes = Object.fromEntries(
    ['', ...filesOf(steward.dataDir)].map((file) => [file, (lstatSync(join(steward.dataDir, file)).mode & 0o777).toString(8)]),
  );

  expect(modes).toEqual({
    '': '700',
    audit: '700',
    [`audit/${new Date().toISOString().slice(0, 7)}.jsonl`]: '600',
    'audit/reserve': '600',
    exports: '700',
    secrets: '700',
    'secrets/modes1_steward.test.txt': '600',
    'steward.db': '600',
    'steward.db-shm': '600',
    'steward.db-wal': '600',
    'steward.lock': '600',
    'steward.lock-journal': '600',
    'steward.sock': '600',
  });
});

describe('the file of a password', () => {
  let steward: Steward;

  beforeAll(async () => {
    steward = await home.steward();
  });

  const pathOf = (answer: Parameters<typeof bodyOf>[0]): string => /in the file (\S+) until/.exec(bodyOf(answer))?.[1] ?? '';

  test('holds one that logs in, and says whose and until when', async () => {
    const answer = await steward.alice.ask('!user create file1');

    const content = readFileSync(pathOf(answer), 'utf8');
    const [, password = ''] = /^Password: (.*)$/m.exec(content) ?? [];
    expect(password).toMatch(/^[2-9A-HJ-NP-Za-km-z]{24}$/);
    expect(await home.logsIn('file1', password)).toBe(true);
    expect(await home.logsIn('file1', `${password}x`)).toBe(false);
    expect(content).toContain('User ID: @file1:steward.test\n');
    const [created, expires] = ['Created', 'Expires'].map((label) =>
      Date.parse(new RegExp(`^${label}: (.*)$`, 'm').exec(content)?.[1] ?? ''),
    );
    expect((expires ?? 0) - (created ?? 0)).toBe(7 * 24 * 3600 * 1000);
  });

  test('is made anew with the password, and the old one logs in no more', async () => {
    const path = pathOf(await steward.alice.ask('!user create file2'));
    const before = steward.password('file2') ?? '';

    expect(pathOf(await steward.alice.ask('!user update-password file2 -y'))).toBe(path);

    const after = steward.password('file2') ?? '';
    expect(after).not.toBe(before);
    expect(await home.logsIn('file2', after)).toBe(true);
    expect(await home.logsIn('file2', before)).toBe(false);
    expect(readdirSync(join(steward.dataDir, 'secrets')).filter((name) => name.startsWith('file2'))).toEqual(['file2_steward.test.txt']);
  });

  test.each([
    ['a slash', 'slash/../up', 'slash%2F..%2Fup_steward.test.txt'],
    ['dots', '..', '.._steward.test.txt'],
    ['many characters', 'l'.repeat(230), /^l{150}-[0-9a-f]{16}\.txt$/],
    ['many slashes', `m${'/'.repeat(220)}`, /^m(%2F){49}%2-[0-9a-f]{16}\.txt$/],
  ])('stays in its folder when the name has %s', async (_, localpart, name) => {
    const answer = await steward.alice.ask(`!user create ${localpart}`);

    expect(resultOf(answer)).toMatchObject({ command: 'user create', outcome: 'done' });
    const path = pathOf(answer);
    expect(resolve(path, '..')).toBe(join(steward.dataDir, 'secrets'));
    expect(path.slice(path.lastIndexOf('/') + 1)).toEqual(typeof name === 'string' ? name : expect.stringMatching(name));
    const content = readFileSync(path, 'utf8');
    expect(content).toContain(`User ID: ${home.userId(localpart)}\n`);
    expect(await home.logsIn(home.userId(localpart), /^Password: (.*)$/m.exec(content)?.[1] ?? '')).toBe(true);
  });

  test('is told of a deactivation, and has a new password after the account is brought back', async () => {
    const path = pathOf(await steward.alice.ask('!user create file3'));
    const before = readFileSync(path, 'utf8');

    // With two persons it would wait for the other one.
    steward.configure({ approval: { mode: 'single' } });
    await steward.alice.ask('!server reload');
    await typeTarget(steward, 'file3');

    expect((await home.account('file3'))?.deactivated).toBe(true);
    expect(readFileSync(path, 'utf8')).toMatch(/\nDeactivated: 20\d\d-\d\d-\d\dT[\d:.]+Z\n$/);
    expect(readFileSync(path, 'utf8').replace(/Deactivated: .*\n/, '')).toBe(before);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);

    expect(pathOf(await steward.alice.ask('!user reactivate file3'))).toBe(path);
    expect(readFileSync(path, 'utf8')).not.toContain('Deactivated:');
    expect(await home.logsIn('file3', steward.password('file3') ?? '')).toBe(true);
  });

  test('goes when its time is over, and the account stays', async () => {
    const short = await home.steward({ config: { secrets: { file: { expire: '1s' } } } });
    const path = pathOf(await short.alice.ask('!user create file4'));

    await until(() => !readdirSync(join(short.dataDir, 'secrets')).includes('file4_steward.test.txt'), 10_000, 'the file is removed');

    expect(path).toContain('file4_steward.test.txt');
    expect(await home.account('file4')).toMatchObject({ deactivated: false });
    expect((await short.shell('user', 'info', 'file4')).exit).toBe(0);
  });
});

(canMount ? test : test.skip)(
  'with no space for a password no account is made, and one that is there keeps the password that lies on the host',
  async () => {
    const steward = await home.steward({ proxied: true, start: false });
    const vault = join(steward.dir, 'vault');
    mkdirSync(vault);
    steward.configure({ secrets: { file: { dir: vault } } });
    await steward.start('ready', withMounts(`mount -t tmpfs -o size=64k,mode=700 tmpfs '${vault}'`));
    const within = (name: string): string => seenBy(steward.pid, join(vault, name));
    await steward.alice.ask('!user create vault1');
    const before = readFileSync(within('vault1_steward.test.txt'), 'utf8');
    expect(() => {
      writeFileSync(within('filler'), Buffer.alloc(100_000));
    }).toThrow('ENOSPC');
    const sent = home.proxy.requests.length;

    const created = await steward.alice.ask('!user create vault2');
    const changed = await steward.alice.ask('!user update-password vault1 -y');

    for (const answer of [created, changed]) {
      expect(resultOf(answer)).toMatchObject({ outcome: 'failed', error_id: 'secret.not-stored' });
      expect(bodyOf(answer)).toMatch(
        /^error: cannot store the password of .*ENOSPC.*\nhint: Is the folder of .* writable, and has it space\?$/,
      );
    }
    expect(await home.account('vault2')).toBeNull();
    expect(home.proxy.requests.slice(sent).filter(({ method, path }) => method === 'PUT' && path.startsWith('/_synapse/'))).toEqual([]);
    expect(readFileSync(within('vault1_steward.test.txt'), 'utf8')).toBe(before);
    expect(readdirSync(within('')).sort()).toEqual(['filler', 'vault1_steward.test.txt']);
    expect(await home.logsIn('vault1', /^Password: (.*)$/m.exec(before)?.[1] ?? '')).toBe(true);

    // The note of an account that is deactivated cannot be marked: the account is deactivated all the same.
    steward.configure({ approval: { mode: 'single' } });
    await steward.alice.ask('!server reload');
    await typeTarget(steward, 'vault1');
    expect((await home.account('vault1'))?.deactivated).toBe(true);
    expect(steward.log).toContain('the note of a deactivated account could not be marked');

    rmSync(within('filler'));
    expect(resultOf(await steward.alice.ask('!user create vault2'))?.outcome).toBe('done');
  },
);

/** Deactivates an account in a shell on a terminal, which asks for its id. */
async function typeTarget(steward: Steward, localpart: string): Promise<void> {
  const main = resolve(import.meta.dirname, '../../src/main.ts');
  const line = `${process.execPath} --disable-warning=ExperimentalWarning ${main} user deactivate ${localpart} --config ${steward.configPath}`;
  const child = spawn('bash', ['-c', `exec script -qec '${line}' /dev/null`], { cwd: steward.dir, timeout: 30_000, killSignal: 'SIGKILL' });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (!said.includes('Type @') && (said += chunk).includes('Type @')) child.stdin.write(`${home.userId(localpart)}\r`);
  });
  const ended = new Promise<number | null>((done) => child.once('close', done));
  expect([await ended, await text(child.stderr)]).toEqual([0, '']);
}
