import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { login, type MatrixClient } from '../../kit/client.ts';
import { startProxy, type Proxy } from '../../kit/proxy.ts';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { systemClock, systemIds } from '../../src/clock.ts';
import { loadConfig } from '../../src/config/load.ts';
import { initCommand } from '../../src/init/init.ts';

jest.setTimeout(120_000);

let synapse: Synapse;
let proxy: Proxy;
let admin: Account;
let alice: MatrixClient;
let count = 0;
const roots: string[] = [];

beforeAll(async () => {
  synapse = await startSynapse();
  proxy = await startProxy(synapse.url);
  admin = await synapse.register({ localpart: 'root', admin: true });
  const made = await synapse.register({ localpart: 'alice' });
  await synapse.register({ localpart: 'bob' });
  alice = await login(synapse.url, 'alice', made.password);
});

afterAll(async () => {
  await proxy.stop();
  await synapse.dispose();
  for (const root of roots) rmSync(root, { recursive: true, force: true });
});

const people = ['--person', 'alice=@alice:steward.test', '--person', 'bob=@bob:steward.test'];

/** A new folder and a new bot, with the flags for both ways in. */
function setting(server: Synapse = synapse, url = proxy.url) {
  const root = mkdtempSync(join(tmpdir(), 'steward-init-'));
  roots.push(root);
  const secret = (name: string, content: string): string => {
    writeFileSync(join(root, name), `${content}\n`, { mode: 0o600 });
    return join(root, name);
  };
  const bot = `steward${(count += 1)}`;
  const dir = join(root, 'etc');
  const common = ['--homeserver', url, '--dir', dir, '--bot-localpart', bot, '--yes'];
  return {
    dir,
    bot,
    userId: `@${bot}:steward.test`,
    common,
    byToken: (token = admin.accessToken) => [...common, ...people, '--admin-token-file', secret('admin-token', token)],
    bySecret: (value = server.registrationSharedSecret) => [
      ...common,
      ...people,
      '--registration-secret-file',
      secret('shared-secret', value),
    ],
    secret,
    token: () => readFileSync(join(dir, 'secrets/access-token'), 'utf8').trim(),
    yaml: () => readFileSync(join(dir, 'steward.yaml'), 'utf8'),
  };
}

async function run(argv: string[]) {
  let out = '';
  let err = '';
  const io = {
    env: { HOME: '/nowhere' },
    out: (text: string) => (out += text),
    err: (text: string) => (err += text),
    isTerminal: false,
    clock: systemClock,
    ids: systemIds,
  };
  const code = await initCommand(argv, io);
  return { code, out, err };
}

async function asBot<T>(of: ReturnType<typeof setting>, method: string, path: string): Promise<T> {
  const response = await fetch(`${synapse.url}${path}`, { method, headers: { authorization: `Bearer ${of.token()}` } });
  return (await response.json()) as T;
}

function roomOf(of: ReturnType<typeof setting>): string {
  const loaded = loadConfig(join(of.dir, 'steward.yaml'), {});
  if (!loaded.ok || loaded.config.room === undefined) throw new Error('no room');
  return loaded.config.room.id;
}

const writes = () => proxy.requests.filter(({ method, path }) => method !== 'GET' && !path.endsWith('/login')).length;

async function expectWhole(of: ReturnType<typeof setting>): Promise<void> {
  const bot = encodeURIComponent(of.userId);
  expect(await asBot(of, 'GET', `/_synapse/admin/v2/users/${bot}`)).toMatchObject({
    admin: true,
    user_type: 'bot',
    displayname: 'Steward',
  });
  expect(await asBot(of, 'GET', '/_matrix/client/v3/account/whoami')).toMatchObject({ user_id: of.userId, device_id: 'STEWARD' });
  const { devices } = await asBot<{ devices: { device_id: string }[] }>(of, 'GET', `/_synapse/admin/v2/users/${bot}/devices`);
  expect(devices.map(({ device_id: id }) => id)).toEqual(['STEWARD']);
  expect(await asBot(of, 'GET', `/_synapse/admin/v1/users/${bot}/override_ratelimit`)).toEqual({ messages_per_second: 0, burst_count: 0 });
  expect((await asBot<{ joined_rooms: string[] }>(of, 'GET', '/_matrix/client/v3/joined_rooms')).joined_rooms).toEqual([roomOf(of)]);
  const state = await asBot<{ type: string; state_key: string; content: Record<string, unknown> }[]>(
    of,
    'GET',
    `/_matrix/client/v3/rooms/${encodeURIComponent(roomOf(of))}/state`,
  );
  const content = (type: string, key = '') => state.find((event) => event.type === type && event.state_key === key)?.content;
  expect(content('m.room.create')).toMatchObject({ 'm.federate': false });
  expect(content('m.room.join_rules')).toMatchObject({ join_rule: 'invite' });
  expect(content('m.room.history_visibility')).toEqual({ history_visibility: 'joined' });
  expect(content('m.room.guest_access')).toEqual({ guest_access: 'forbidden' });
  expect(content('m.room.encryption')).toEqual({ algorithm: 'm.megolm.v1.aes-sha2' });
  for (const user of ['@alice:steward.test', '@bob:steward.test'])
    expect(content('m.room.member', user)).toMatchObject({ membership: 'invite' });
  for (const file of ['steward.yaml', 'secrets/access-token']) expect(statSync(join(of.dir, file)).mode & 0o777).toBe(0o600);
  expect(statSync(join(of.dir, 'secrets')).mode & 0o777).toBe(0o700);
  expect(readdirSync(join(of.dir, 'secrets'))).toEqual(['access-token']);
  const loaded = loadConfig(join(of.dir, 'steward.yaml'), {});
  expect(loaded).toMatchObject({
    ok: true,
    config: {
      homeserver: { userId: of.userId, deviceId: 'STEWARD', serverName: 'steward.test' },
      people: { alice: { roles: ['owner'] }, bob: { roles: ['admin'] } },
      approval: { mode: 'two-person' },
    },
  });
}

describe('steward init', () => {
  test.each(['byToken', 'bySecret'] as const)('%s: makes account, device, room, files', async (way) => {
    const of = setting();
    const { code, out, err } = await run(of[way]());
    expect(code).toBe(0);
    await expectWhole(of);
    expect(err).toBe('warning: alerts: no alert channel off the homeserver: when the homeserver is down nobody is told\n');
    for (const secret of [admin.accessToken, synapse.registrationSharedSecret, of.token()])
      expect(out + err + of.yaml()).not.toContain(secret);
  });

  test('run again, it changes nothing and needs no authority', async () => {
    const of = setting();
    await run(of.bySecret());
    const files = () =>
      ['steward.yaml', 'secrets/access-token'].map((file) => [
        readFileSync(join(of.dir, file), 'utf8'),
        statSync(join(of.dir, file)).mtimeMs,
      ]);
    const before = [files(), writes()];
    for (const argv of [of.common, of.bySecret(), of.byToken()]) {
      const { code, out } = await run(argv);
      expect([code, out]).toEqual([
        0,
        `${of.dir}/steward.yaml is complete: ${of.userId} on ${proxy.url}, room ${roomOf(of)}. Nothing was changed.\n`,
      ]);
    }
    expect([files(), writes()]).toEqual(before);
  });

  test('members may tidy up, and may not lower the bot or open the room', async () => {
    const of = setting();
    await run(of.byToken());
    const room = roomOf(of);
    await alice.join(room);
    await alice.setState(room, 'm.room.pinned_events', { pinned: [] });
    await alice.setState(room, 'm.room.name', { name: 'Ops' });
    const levels = await alice.getState(room, 'm.room.power_levels');
    for (const [type, content] of [
      ['m.room.power_levels', { ...levels, users: { ...(levels['users'] as object), [of.userId]: 0 } }],
      ['m.room.join_rules', { join_rule: 'public' }],
      ['m.room.encryption', { algorithm: 'm.megolm.v1.aes-sha2' }],
      ['org.matrix.msc4391.command_description', {}],
    ] as const)
      await expect(alice.setState(room, type, content)).rejects.toMatchObject({ errcode: 'M_FORBIDDEN' });
  });

  test('keeps the web hook in a file and one person needs no second', async () => {
    const of = setting();
    const argv = [
      ...of.byToken().filter((word) => !word.startsWith('bob=')),
      '--alert-webhook-file',
      of.secret('hook', 'https://hooks.example.org/hidden'),
    ];
    argv.splice(argv.lastIndexOf('--person'), 1);
    const { out, err } = await run(argv);
    expect(out + err + of.yaml()).not.toContain('hidden');
    expect(loadConfig(join(of.dir, 'steward.yaml'), {})).toMatchObject({ config: { approval: { mode: 'single' } } });
    const loaded = loadConfig(join(of.dir, 'steward.yaml'), {});
    expect(loaded.ok && loaded.config.alerts.webhook?.url.reveal()).toBe('https://hooks.example.org/hidden');
  });
});

describe('a run that broke off', () => {
  test.each([
    ['byToken', 'forward-then-reset'],
    ['byToken', 'reset'],
    ['bySecret', 'forward-then-reset'],
    ['bySecret', 'reset'],
  ] as const)('%s: is continued, wherever the connection was cut (%s)', async (way, action) => {
    let broken = 0;
    for (let nth = 1; ; nth += 1) {
      const of = setting();
      let seen = 0;
      const fault = proxy.fault({ name: `write ${nth}`, match: ({ method }) => method !== 'GET' && (seen += 1) === nth, action });
      const first = await run(of[way]()).catch((error: unknown) => error);
      fault.remove();
      if (fault.hits === 0) break;
      broken += 1;
      expect(first).toMatchObject({ name: 'Failure', id: expect.stringMatching(/^homeserver\./) });
      expect(existsSync(join(of.dir, 'steward.yaml'))).toBe(false);
      expect((await run(of[way]())).code).toBe(0);
      await expectWhole(of);
    }
    expect(broken).toBe(way === 'byToken' ? 6 : 5);
  });

  test('a token that was lost or logged out is made anew, for the same device, and the file stays', async () => {
    const of = setting();
    await run(of.bySecret());
    const yaml = of.yaml();
    const room = roomOf(of);
    rmSync(join(of.dir, 'secrets/access-token'));
    await expect(run(of.common)).rejects.toMatchObject({
      id: 'usage.missing-value',
      reason: 'missing: --admin-token-file or --registration-secret-file',
    });
    expect((await run(of.byToken())).code).toBe(0);
    await asBot(of, 'POST', '/_matrix/client/v3/logout');
    expect((await run(of.byToken())).code).toBe(0);
    expect([of.yaml(), roomOf(of)]).toEqual([yaml, room]);
    await expectWhole(of);
  });

  test('a configuration without a homeserver gets what is missing, and keeps the rest', async () => {
    const of = setting();
    mkdirSync(of.dir);
    writeFileSync(join(of.dir, 'steward.yaml'), '# mine\ntime_zone: Europe/Berlin # here\n');
    expect((await run(of.byToken())).code).toBe(0);
    expect(of.yaml()).toMatch(/^# mine\ntime_zone: Europe\/Berlin # here\n\n# Folder of/);
    await expectWhole(of);
  });

  test('a configuration with mistakes is told, and left alone', async () => {
    const of = setting();
    mkdirSync(of.dir);
    writeFileSync(join(of.dir, 'steward.yaml'), 'rom: {}\n');
    expect(await run(of.byToken())).toMatchObject({ code: 2, err: expect.stringContaining('did you mean `room`?') });
    expect(of.yaml()).toBe('rom: {}\n');
  });
});

describe('steward init refuses', () => {
  const nothingWritten = (of: ReturnType<typeof setting>) =>
    expect(existsSync(join(of.dir, 'secrets/access-token')) || existsSync(join(of.dir, 'steward.yaml'))).toBe(false);

  test.each<[string, string, (of: ReturnType<typeof setting>) => string[]]>([
    ['a token of somebody who is no admin', 'homeserver.not-admin', (of) => of.byToken(alice.accessToken)],
    ['a token that is unknown', 'homeserver.unknown-token', (of) => of.byToken('syt_hidden')],
    ['a wrong shared secret', 'homeserver.refused', (of) => of.bySecret('hidden')],
    ['an account of somebody else', 'init.account-taken', (of) => [...of.byToken(), '--bot-localpart', 'alice']],
    ['an account of somebody else', 'init.account-taken', (of) => [...of.bySecret(), '--bot-localpart', 'alice']],
    ['to ask without a terminal', 'usage.no-terminal', (of) => of.byToken().filter((word) => word !== '--yes')],
    ['a run without a person', 'usage.missing-value', (of) => [...of.common, '--admin-token-file', of.secret('t', admin.accessToken)]],
    ['a homeserver that is not there', 'homeserver.unreachable', (of) => [...of.byToken(), '--homeserver', 'http://127.0.0.1:9999']],
    ['a secret on the command line', 'usage.unknown-option', (of) => [...of.common, '--admin-token=hidden']],
    ['a word too many', 'usage.extra-argument', (of) => [...of.common, 'hidden']],
    ['a secret in place of its file', 'usage.input-unreadable', (of) => [...of.common, '--admin-token-file', 'hidden']],
    ['a person twice', 'usage.invalid-value', (of) => [...of.byToken(), '--person', 'eve=@bob:steward.test']],
  ])('%s: %s', async (_, id, argv) => {
    const of = setting();
    const error: unknown = await run(argv(of)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ id });
    expect(`${(error as Error).message} ${(error as { hint: string }).hint}`).not.toContain('hidden');
    nothingWritten(of);
  });

  test('persons who are not accounts of this homeserver', async () => {
    const of = setting();
    await expect(run([...of.byToken(), '--person', 'eve=@eve:steward.test'])).rejects.toMatchObject({ id: 'user.not-found' });
    await expect(run([...of.byToken(), '--person', 'eve=@eve:elsewhere.org'])).rejects.toMatchObject({ id: 'user.not-local' });
    expect((await run(of.byToken())).code).toBe(0);
    await expectWhole(of);
  });

  test('to make an account that Matrix Authentication Service owns, and says what to type', async () => {
    const of = setting();
    const fault = proxy.fault({
      name: 'MAS',
      match: ({ path }) => path === '/_matrix/client/v1/auth_metadata',
      action: { status: 200, body: { issuer: 'https://auth.example.org/' } },
    });
    const error: unknown = await run(of.common).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      id: 'guard.identity-provider',
      exit: 3,
      hint: expect.stringContaining(`mas-cli manage issue-compatibility-token ${of.bot} --yes-i-want-to-grant-synapse-admin-privileges`),
    });
    expect(fault.hits).toBe(1);
    nothingWritten(of);
  });

  test.each([
    ['of the rate limits', /override_ratelimit/],
    ['of an invitation', /\/invite$/],
    ['of the account', /\/v2\/users\//],
  ])('to believe a server that drops the write %s', async (_, path) => {
    const of = setting();
    const fault = proxy.fault({
      name: String(path),
      match: (request) => request.method !== 'GET' && path.test(request.path),
      action: { drop: {} },
    });
    await expect(run(of.byToken())).rejects.toMatchObject({ id: 'homeserver.not-done' });
    expect(fault.hits).toBe(1);
    expect(existsSync(join(of.dir, 'steward.yaml'))).toBe(false);
  });

  test('secrets in a git work tree that does not ignore them', async () => {
    const of = setting();
    mkdirSync(of.dir);
    execFileSync('git', ['init', '-q', of.dir]);
    const before = writes();
    await expect(run(of.byToken())).rejects.toMatchObject({ id: 'init.secrets-in-git' });
    writeFileSync(join(of.dir, '.gitignore'), 'secrets/\n');
    await expect(run(of.byToken())).rejects.toMatchObject({ id: 'init.secrets-in-git', attempted: expect.stringContaining('/data/') });
    expect(writes()).toBe(before);
    nothingWritten(of);
    const { PATH } = process.env;
    process.env['PATH'] = '/nowhere';
    await expect(run(of.byToken())).rejects.toMatchObject({ id: 'init.secrets-in-git' });
    process.env['PATH'] = PATH;
    writeFileSync(join(of.dir, '.gitignore'), 'secrets/\ndata/\n');
    expect((await run(of.byToken())).code).toBe(0);
  });
});

describe('an existing room', () => {
  test('is joined when the bot is invited, and its weaknesses are told', async () => {
    const of = setting();
    const room = await alice.createRoom({ preset: 'private_chat' });
    await expect(run([...of.byToken(), '--room', room])).rejects.toMatchObject({
      id: 'homeserver.refused',
      hint: expect.stringContaining(`Invite ${of.userId}`),
    });
    await alice.invite(room, of.userId);
    await alice.invite(room, '@bob:steward.test');
    const { code, err } = await run([...of.byToken(), '--room', room]);
    expect([code, roomOf(of)]).toEqual([0, room]);
    expect(err).toContain('warning: the room: other homeservers can take part\n');
    expect(err).toContain(`warning: the room: ${of.userId} may not remove messages there\n`);
  });

  test('that is encrypted is taken as it is', async () => {
    const of = setting();
    const room = await alice.createRoom({
      preset: 'private_chat',
      initial_state: [{ type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2' } }],
    });
    await run([...of.byToken(), '--room', room]).catch(() => undefined);
    await alice.invite(room, of.userId);
    await run([...of.byToken(), '--room', room]);
    expect(loadConfig(join(of.dir, 'steward.yaml'), {})).toMatchObject({ ok: true, config: { room: { id: room } } });
  });
});

describe('a server with other settings', () => {
  test('that encrypts every room, and lets nobody log in with a password', async () => {
    const strict = await startSynapse({
      config: { encryption_enabled_by_default_for_room_type: 'all', password_config: { enabled: false } },
    });
    try {
      for (const localpart of ['alice', 'bob']) await strict.register({ localpart });
      const root = await strict.register({ localpart: 'root', admin: true });
      const byToken = setting(strict, strict.url);
      await expect(run(byToken.byToken(root.accessToken))).rejects.toMatchObject({ id: 'init.password-login-off' });
      const bySecret = setting(strict, strict.url);
      await run(bySecret.bySecret());
      expect(loadConfig(join(bySecret.dir, 'steward.yaml'), {})).toMatchObject({ ok: true });
    } finally {
      await strict.dispose();
    }
  });
});
