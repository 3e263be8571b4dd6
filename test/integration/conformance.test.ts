import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { stringify } from 'yaml';
import { openClient } from '../../kit/client.ts';
import { startProxy, type FaultAction, type Proxy } from '../../kit/proxy.ts';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { allCommands } from '../../src/commands/all.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { openCore, type Core } from '../../src/core.ts';
import { runLine, type ShellReply } from './support/core-shell.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { confirmKeys } from './support/keys.ts';
import { openWebhook, type Webhook } from './support/webhook.ts';

/** Each write of the registry, through the same road as the shell, with a proxy that sees and lies. */

jest.setTimeout(60_000);

let synapse: Synapse;
let proxy: Proxy;
let core: Core;
let dir: string;
let eye: Account;
let hook: Webhook;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'conformance-'));
  synapse = await startSynapse({ dir: join(dir, 'synapse'), serverName: 'example.org' });
  proxy = await startProxy(synapse.url);
  const bot = await synapse.register({ localpart: 'steward', admin: true });
  eye = await synapse.register({ localpart: 'eye', admin: true });
  const roomId = await openClient({ ...bot, url: synapse.url }).createRoom({ preset: 'public_chat' });
  hook = await openWebhook();
  mkdirSync(join(dir, 'steward'));
  writeFileSync(join(dir, 'steward/hook'), hook.url, { mode: 0o600 });
  writeFileSync(join(dir, 'steward/token'), bot.accessToken, { mode: 0o600 });
  writeFileSync(
    join(dir, 'steward/steward.yaml'),
    `data_dir: data\nhomeserver:\n  url: ${proxy.url}\n  server_name: example.org\n  user_id: '@steward:example.org'\n  access_token_file: token\napproval:\n  mode: single\n  countdown_single: 1s\nroom:\n  id: '${roomId}'\nalerts:\n  webhook:\n    url_file: hook\n${host()}`,
  );
  core = await openCore(new Reloadable(join(dir, 'steward/steward.yaml'), {}), silentLog);
  await confirmKeys(
    async (...words) => {
      let printed = '';
      for await (const message of core.session().run({ words, items: null, secrets: {} }))
        if (message.type === 'data') printed += message.chunk;
      return printed;
    },
    join(dir, 'my.key'),
  );
}, 120_000);

afterAll(async () => {
  core.close();
  hook.close();
  await proxy.stop();
  await synapse.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** The part of the configuration that says where the homeserver runs. Its restart is another number in a file. */
function host(): string {
  writeFileSync(join(dir, 'invocation'), '1');
  const restart = 'test ! -e "$0.broken" && { test -e "$0.idle" || echo $(( $(cat "$0") + 1 )) > "$0.new" && mv "$0.new" "$0"; }';
  const synapseAt = join(dir, 'synapse');
  spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
  const [recipient] = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8')) ?? [];
  return stringify({
    backup: {
      destinations: { disk: { directory: join(dir, 'disk') }, cloud: { directory: join(dir, 'cloud') } },
      keys: { recipients: [recipient] },
    },
    stack: {
      homeserver_config: [join(synapseAt, 'homeserver.yaml')],
      components: {
        synapse: {
          status: ['cat', join(dir, 'invocation')],
          restart: ['sh', '-c', restart, join(dir, 'invocation')],
          logs: ['tail', '-n', '500', join(synapseAt, 'homeserver.log')],
        },
      },
    },
  });
}

const run = (line: string): Promise<ShellReply> => runLine(core, line);

/** The account as another admin sees it, past the proxy and past the code under test. */
async function look(userId: string): Promise<{ deactivated: boolean; displayname: string | null } | null> {
  const answer = await fetch(`${synapse.url}/_synapse/admin/v2/users/${encodeURIComponent(userId)}`, {
    headers: { authorization: `Bearer ${eye.accessToken}` },
  });
  return answer.status === 404 ? null : ((await answer.json()) as { deactivated: boolean; displayname: string | null });
}

async function deactivated(localpart: string): Promise<void> {
  await synapse.register({ localpart });
  await fetch(`${synapse.url}/_synapse/admin/v1/deactivate/@${localpart}:example.org`, {
    method: 'POST',
    headers: { authorization: `Bearer ${eye.accessToken}` },
    body: '{}',
  });
}

/** How each write is tried: a line with NAME in it, and what must be there before. Null: it writes to no homeserver. */
const writes: Record<string, { line: string; before: (localpart: string) => Promise<unknown> } | null> = {
  'user create': { line: 'user create NAME', before: () => Promise.resolve() },
  'user update-password': { line: 'user update-password NAME', before: (localpart) => synapse.register({ localpart }) },
  'user deactivate': { line: 'user deactivate NAME', before: (localpart) => synapse.register({ localpart }) },
  'user reactivate': { line: 'user reactivate NAME', before: deactivated },
  // This one goes on in the background of Synapse; redact.test.ts tries it.
  'user redact': null,
  'server reload': null,
  // Tried in room-guard.test.ts, on rooms of their own.
  'server room ack': null,
  'server room mend': null,
  'server room move': null,
  'server restart': null,
  'server crypto confirm': null,
  'job cancel': null,
  'server freeze': null,
  'server thaw': null,
  'audit export': null,
  'schedule add': null,
  'schedule remove': null,
  'schedule pause': null,
  'schedule resume': null,
  'schedule run': null,
  'me age': null,
  // These write to a place for backups; backup.test.ts tries them.
  'backup create': null,
  'backup verify': null,
  'backup drill': null,
  'backup pin': null,
  'backup copy': null,
  'backup scan': null,
  'backup prune': null,
  // This one writes into Steward's own store; nightly.test.ts tries it.
  'backup schedule': null,
  // Tried in unlock.test.ts and recipients.test.ts, by the program age.
  'backup unlock': null,
  'backup keys confirm': null,
  'backup keys accept': null,
  'backup keys reseal': null,
  // These write to the homeserver's database and files; restore.test.ts tries them.
  'restore prepare': null,
  'restore cutover': null,
  'restore undo': null,
  'restore finish': null,
};

test('every write of the registry is tried here', () => {
  expect(Object.keys(writes).sort()).toEqual(
    allCommands()
      .commands.filter((command) => command.kind === 'write')
      .map((command) => command.name)
      .sort(),
  );
});

describe.each(Object.entries(writes).flatMap(([name, write]) => (write === null ? [] : [[name, write] as const])))('%s', (name, write) => {
  const prefix = name.replace(/\W/g, '');
  const isWrite = (method: string): boolean => method !== 'GET';

  test('sends no write on a dry run, and names the account', async () => {
    await write.before(`${prefix}dry`);
    const seen = proxy.requests.length;
    const reply = await run(`${write.line.replace('NAME', `${prefix}dry`)} --dry-run`);
    expect(reply.outcome).toBe('done');
    expect(JSON.stringify(reply.parts)).toContain(`@${prefix}dry:example.org`);
    expect(proxy.requests.slice(seen).filter(({ method }) => isWrite(method))).toEqual([]);
  });

  test('does it, and another admin sees it', async () => {
    await write.before(`${prefix}done`);
    const before = await look(`@${prefix}done:example.org`);
    expect((await run(write.line.replace('NAME', `${prefix}done`))).outcome).toBe('done');
    const after = await look(`@${prefix}done:example.org`);
    if (name !== 'user update-password') expect(after?.deactivated).not.toBe(before?.deactivated);
  });

  test('fails when the server answers 200 and the write is dropped', async () => {
    await write.before(`${prefix}lie`);
    const before = await look(`@${prefix}lie:example.org`);
    const lie = proxy.fault({
      name: 'a proxy answers for Synapse',
      match: ({ method, path }) => isWrite(method) && path.startsWith('/_synapse/admin/'),
      action: { drop: {} },
    });
    const reply = await run(write.line.replace('NAME', `${prefix}lie`));
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'homeserver.not-done' });
    expect(lie.hits).toBe(1);
    expect(await look(`@${prefix}lie:example.org`)).toEqual(before);
    expect(core.sink.find(`@${prefix}lie:example.org`)).toBeNull();
  });

  test('says so when the server lacks the endpoint', async () => {
    await write.before(`${prefix}old`);
    const missing: FaultAction = { status: 404, body: { errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request' } };
    const old = proxy.fault({
      name: 'an old Synapse',
      match: ({ method, path }) => isWrite(method) && path.startsWith('/_synapse/admin/'),
      action: missing,
    });
    const reply = await run(write.line.replace('NAME', `${prefix}old`));
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'homeserver.no-endpoint' });
    expect(old.hits).toBe(1);
    expect(core.sink.find(`@${prefix}old:example.org`)).toBeNull();
  });
});

describe('server restart', () => {
  const invocation = (): string => readFileSync(join(dir, 'invocation'), 'utf8').trim();

  test('restarts nothing on a dry run, and is done when another process runs', async () => {
    const before = invocation();
    expect(await run('server restart --dry-run')).toMatchObject({ outcome: 'done' });
    expect(invocation()).toBe(before);
    expect(await run('server restart')).toMatchObject({ outcome: 'done' });
    expect(Number(invocation())).toBe(Number(before) + 1);
  });

  test('fails when the command says 0 and the same process runs', async () => {
    writeFileSync(join(dir, 'invocation.idle'), '');
    writeFileSync(join(dir, 'invocation.new'), invocation());
    expect(await run('server restart')).toMatchObject({ outcome: 'failed', errorId: 'homeserver.not-done' });
    rmSync(join(dir, 'invocation.idle'));
  });

  test('tells what a command that failed said', async () => {
    writeFileSync(join(dir, 'invocation.broken'), '');
    expect(await run('server restart')).toMatchObject({ outcome: 'failed', errorId: 'stack.command-failed' });
    rmSync(join(dir, 'invocation.broken'));
    expect(await run('server restart worker')).toMatchObject({ outcome: 'refused', errorId: 'stack.no-component' });
  });
});

test('a server on SQLite is backed up while it runs, proven, and opened by age and zstd', async () => {
  expect(await run('backup create')).toMatchObject({ outcome: 'done' });
  const disk = join(dir, 'disk');
  const folder = join(
    disk,
    readdirSync(disk)
      .filter((name) => /^\d/.test(name))
      .sort()
      .at(-1) ?? '',
  );
  const proof = JSON.parse(readFileSync(join(folder, 'proof.json'), 'utf8')) as { content: object };
  expect(proof.content).toMatchObject({ level: 4, missing: null });
  const copy = join(dir, 'copy.db');
  const epoch = readdirSync(join(folder, 'keys')).find((name) => name.startsWith('epoch-')) ?? '';
  const script = `age -d -i my.key ${folder}/keys/${epoch} > epoch.key; age -d -i epoch.key ${folder}/database/homeserver.db.zst.age | zstd -q -d > ${copy}`;
  expect(spawnSync('bash', ['-e', '-o', 'pipefail', '-c', script], { cwd: dir }).status).toBe(0);
  const database = new DatabaseSync(copy, { readOnly: true });
  expect(database.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
  expect(database.prepare(`SELECT count(*) AS n FROM users WHERE name = '@eye:example.org'`).get()).toEqual({ n: 1 });
  database.close();
});

test('every example of the registry runs', async () => {
  const commands = allCommands().commands;
  const examples = (name: string): readonly string[] => commands.find((command) => command.name === name)?.examples ?? [];
  const first = ['user create', 'user info', 'user update-password', 'user deactivate', 'user reactivate'];
  const last = ['schedule add', 'schedule list', 'schedule run', 'schedule pause', 'schedule resume', 'schedule remove'];
  const between = commands.map((command) => command.name).filter((name) => !first.includes(name) && !last.includes(name));
  const order = [...first, ...between, ...last];
  // As in the daemon, where a run can be asked for.
  core.scheduler({ spool: () => Promise.resolve(null), tell: () => undefined, owners: () => [] });
  // Only the accounts that the examples do not make themselves.
  await run('user create mail --email alice@example.org');
  for (const name of order) {
    if (name === 'server room ack')
      core.lockDown.begin({ kind: 'stranger', subject: '@mallory:example.org', detail: 'somebody has joined' });
    for (const example of examples(name)) {
      const reply = await run(example);
      // An age key is a person's, and the shell is nobody; test/integration/delivery.test.ts runs them in a room.
      if (name.startsWith('me age')) {
        expect({ example, error: reply.errorId }).toEqual({ example, error: 'me.nobody' });
        continue;
      }
      // Nobody is named in this configuration; test/integration/encryption.test.ts confirms somebody.
      if (name === 'server crypto confirm') {
        expect({ example, error: reply.errorId }).toEqual({ example, error: 'access.no-person' });
        continue;
      }
      // Nobody here has ever been in a room; redact.test.ts redacts what was said in some.
      if (name === 'user redact') {
        expect({ example, error: reply.errorId }).toEqual({ example, error: 'user.no-rooms' });
        continue;
      }
      // They name a job that there is not; test/integration/jobs.test.ts looks at real ones.
      if (name === 'job info' || name === 'job cancel') {
        expect({ example, error: reply.errorId }).toEqual({ example, error: 'job.not-found' });
        continue;
      }
      // Steward has no key here, and may not stop this server; restore.test.ts restores one.
      if (name.startsWith('restore ') && name !== 'restore list') {
        expect(reply.errorId).toMatch(/^(backup\.no-key|restore\.not-found)$/);
        continue;
      }
      // There is no Synapse here that runs as Steward knows it; drill.test.ts tries a backup.
      if (name === 'backup drill') {
        expect({ example, error: reply.errorId }).toEqual({ example, error: 'stack.no-program' });
        continue;
      }
      // Each destination has it already; test/integration/destinations.test.ts copies one.
      if (name === 'backup copy') {
        expect({ example, error: reply.errorId }).toEqual({ example, error: 'backup.exists' });
        continue;
      }
      // Nothing waits for a key; unlock.test.ts has what does.
      if (name === 'backup unlock') {
        expect({ example, error: reply.errorId }).toEqual({ example, error: 'backup.nothing-to-unlock' });
        continue;
      }
      // No challenge has this code, and nobody has changed the recipients; recipients.test.ts does.
      if (['backup keys confirm', 'backup keys accept', 'backup keys reseal'].includes(name)) {
        expect(reply.errorId).toMatch(/^backup\.(wrong-code|no-change|nothing-to-reseal)$/);
        continue;
      }
      const undoneAlready = name === 'undo';
      // They name a request that nobody has made, and the shell approves nothing.
      if (['approval info', 'approval approve', 'approval veto'].includes(name)) {
        expect(reply).toMatchObject({ outcome: 'refused', errorId: expect.stringMatching(/^approval\.(?:wrong-code|shell)$/) });
        continue;
      }
      expect({ example, outcome: reply.outcome, error: reply.errorId }).toEqual({
        example,
        outcome: 'done',
        error: undoneAlready ? reply.errorId : undefined,
      });
    }
  }
  expect(await look('@alice:example.org')).toMatchObject({ deactivated: false });
}, 60_000);
