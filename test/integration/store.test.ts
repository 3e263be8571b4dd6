import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProxiedRequest } from '../../kit/proxy.ts';
import { connect } from '../../src/terminal/socket-client.ts';
import { Homeserver } from './support/homeserver.ts';
import { canMount, seenBy, withMounts } from './support/namespace.ts';
import { resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** The store that cannot be written, that is newer, that is damaged, and that another process has. */

jest.setTimeout(60_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

const sentinel = '!server version';
const onlyWithMounts = canMount ? describe : describe.skip;
const isWrite = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'PUT' && path.startsWith('/_synapse/admin/');

/** Starts it where it will not stay, and waits for its end. @returns its last words and exit code */
async function refused(steward: Steward, wrap: readonly string[] = []): Promise<{ end: string; said: string }> {
  const error = await steward.start('alive', wrap).then(
    () => new Error('it started'),
    (thrown: unknown) => thrown as Error,
  );
  return { end: /did not start: (.*)/.exec(error.message)?.[1] ?? error.message, said: error.message };
}

function digest(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

onlyWithMounts('on a full disk', () => {
  let steward: Steward;
  let filler: string;

  beforeAll(async () => {
    steward = await home.steward({ start: false, proxied: true });
    mkdirSync(steward.dataDir, { mode: 0o700 });
    const disk = `mount -t tmpfs -o size=8m,mode=700 tmpfs '${steward.dataDir}'`;
    const diskForFiles = `mkdir -m 700 '${steward.dataDir}/exports'\nmount -t tmpfs -o size=8k,mode=700 tmpfs '${steward.dataDir}/exports'`;
    await steward.start('ready', withMounts(`${disk}\n${diskForFiles}`));
    await steward.alice.ask(sentinel);
    filler = seenBy(steward.pid, join(steward.dataDir, 'filler'));
  });

  function fill(): void {
    try {
      for (let size = 64; ; size += 64) writeFileSync(filler, Buffer.alloc(size * 1024));
    } catch {
      // Now there is no space; what fitted is left there.
    }
    for (let n = 0; ; n += 1) {
      try {
        writeFileSync(`${filler}-${n}`, Buffer.alloc(1024));
      } catch {
        return;
      }
    }
  }

  function free(): void {
    const dir = seenBy(steward.pid, steward.dataDir);
    for (const name of readdirSync(dir)) if (name.startsWith('filler')) rmSync(join(dir, name));
  }

  /** The password in the sink, inside the mounts of the process. */
  const hasPassword = (name: string): boolean => {
    const dir = seenBy(steward.pid, join(steward.dataDir, 'secrets'));
    return readdirSync(seenBy(steward.pid, steward.dataDir)).includes('secrets') && readdirSync(dir).includes(`${name}_steward.test.txt`);
  };

  async function inShell(words: string[]): Promise<{ outcome: string; errorId: string | undefined; text: string }> {
    const session = await connect(seenBy(steward.pid, join(steward.dataDir, 'steward.sock')));
    if (session === null) throw new Error('no daemon listens');
    for await (const message of session.run({ words, items: null, secrets: {} })) {
      if (message.type === 'reply') return { outcome: message.outcome, errorId: message.errorId, text: JSON.stringify(message.parts) };
    }
    throw new Error('no reply');
  }

  test('it gives back what it kept for the audit: reads are answered, changes refused with the reason', async () => {
    fill();
    const [refused, read] = [await steward.alice.say('!user create full3'), await steward.alice.say('!user list carol')] as const;

    expect(resultOf(await steward.alice.answer(refused, 20_000))).toMatchObject({ outcome: 'failed', error_id: 'audit.unwritable' });
    expect(resultOf(await steward.alice.answer(read, 20_000))?.outcome).toBe('done');
    expect(await inShell(['user', 'create', 'full4'])).toMatchObject({
      outcome: 'failed',
      errorId: 'audit.unwritable',
      text: expect.stringContaining('the disk is full'),
    });
    await steward.becomes(503);
    for (const name of ['full3', 'full4']) {
      expect(await home.account(name)).toBeNull();
      expect(hasPassword(name)).toBe(false);
    }
    free();

    await steward.becomes(200);
    expect(readdirSync(seenBy(steward.pid, join(steward.dataDir, 'audit')))).toContain('reserve');
    expect(resultOf(await steward.alice.ask('!user create full3'))?.outcome).toBe('done');
    expect(resultOf(await steward.alice.ask('!audit verify --all'))?.outcome).toBe('done');
  });

  test('to the last byte it says so, does nothing half, and goes on when there is space', async () => {
    const logBefore = steward.log.length;
    // Twice: what is given back at the first failure is taken as well.
    fill();
    await inShell(['user', 'create', 'full2']);
    fill();
    const said = [await steward.alice.say('!user create full1'), await steward.alice.say('!user list carol')] as const;
    await until(() => steward.log.slice(logBefore).includes('store.unwritable'), 10_000, 'the log says so');

    expect(await inShell(['user', 'create', 'full2'])).toMatchObject({
      outcome: 'failed',
      errorId: 'audit.unwritable',
      text: expect.stringContaining('the disk is full'),
    });
    await steward.becomes(503);
    expect((await steward.health('livez')).status).toBe(200);
    expect((await steward.health('readyz')).body).toContain('{"name":"store","ok":false}');
    for (const name of ['full1', 'full2']) {
      expect(await home.account(name)).toBeNull();
      expect(hasPassword(name)).toBe(false);
    }
    free();

    for (const event of said) expect(resultOf(await steward.alice.answer(event, 20_000))?.outcome).toBe('done');
    await steward.becomes(200);
    for (const event of said) expect(await steward.alice.answers(event)).toHaveLength(1);
    expect(await home.account('full1')).not.toBeNull();
    expect(hasPassword('full1')).toBe(true);
    expect(await home.account('full2')).toBeNull();
  });

  test('that fills up under a change it stays alive, and tells the truth when there is space', async () => {
    home.proxy.fault({ name: 'slow', match: isWrite, action: { delay: 2500 } });
    const said = await steward.alice.say('!user create filling');
    await until(() => home.proxy.requests.findLast(isWrite)?.path.includes('filling'), 5000, 'the write is under way');
    fill();
    await until(async () => (await home.account('filling')) !== null, 10_000, 'the write is done');
    await sleep(1500);
    expect(steward.isRunning).toBe(true);
    free();

    expect(resultOf(await steward.alice.answer(said, 20_000))?.outcome).toBe('done');

    expect(await steward.alice.answers(said)).toHaveLength(1);
    expect(hasPassword('filling')).toBe(true);
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
    expect(home.proxy.requests.filter((request) => isWrite(request) && request.path.includes('filling'))).toHaveLength(1);
  });

  test('an answer that cannot be kept is given when there is space again', async () => {
    const isRead = ({ method, path }: Readonly<ProxiedRequest>): boolean =>
      method === 'GET' && path.includes(encodeURIComponent(home.userId('carol')));
    const filled = Promise.withResolvers<null>();
    const slow = home.proxy.fault({ name: 'a slow read', match: isRead, action: { hold: filled.promise } });
    const from = home.proxy.requests.length;
    const said = await steward.alice.say('!user info carol');
    await until(() => slow.hits === 1, 5000, 'the read is under way');
    // Twice: what is given back at the first failure is taken as well.
    fill();
    await inShell(['user', 'create', 'full5']);
    fill();
    filled.resolve(null);
    const reads = (): ProxiedRequest[] => home.proxy.requests.slice(from).filter(isRead);
    await until(() => reads().every(({ status }) => status !== null), 10_000, 'it is answered');
    await sleep(3000);
    expect(await steward.alice.answers(said)).toEqual([]);
    free();

    expect(resultOf(await steward.alice.answer(said, 20_000))).toEqual({ command: 'user info', outcome: 'done' });
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
    expect(await steward.alice.answers(said)).toHaveLength(1);
  });

  test('without space for a file of the room it says so, and keeps nothing of it', async () => {
    await Promise.all(Array.from({ length: 100 }, (_, n) => home.register(`disk${n}`, 'x'.repeat(200))));

    const answer = await steward.alice.ask('!user list disk --csv');

    expect(resultOf(answer)).toMatchObject({ outcome: 'failed', error_id: 'room.no-file' });
    expect(readdirSync(seenBy(steward.pid, join(steward.dataDir, 'exports')))).toEqual([]);
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  });
});

onlyWithMounts('read-only', () => {
  test.each([
    ['its file', 'steward.db'],
    ['its folder', ''],
  ])('%s: Steward says so and ends, and changes nothing', async (_, name) => {
    const steward = await home.steward();
    await steward.stop();
    const path = join(steward.dataDir, name);
    const database = join(steward.dataDir, 'steward.db');
    const before = digest(database);

    const { end, said } = await refused(steward, withMounts(`mount --bind '${path}' '${path}'\nmount -o remount,ro,bind '${path}'`));

    expect(end).toBe('exit code 1');
    expect(said).toMatch(/error: cannot .+ \(store\.unwritable\)\nhint: /);
    expect(digest(database)).toBe(before);
    await steward.start();
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
    await steward.stop();
  });
});

test('a store of a newer version is refused with the version that it needs, and left as it is', async () => {
  const steward = await home.steward();
  await steward.stop();
  const path = join(steward.dataDir, 'steward.db');
  const database = new DatabaseSync(path);
  database.exec("PRAGMA journal_mode = DELETE; UPDATE facts SET value = '9.9.9' WHERE name = 'written_by'; PRAGMA user_version = 99");
  database.close();
  const before = digest(path);
  const said = await steward.alice.say('!user create newer');

  const { end, said: words } = await refused(steward);

  expect(end).toBe('exit code 3');
  expect(words).toContain('it needs Steward 9.9.9 (store.newer)');
  expect(digest(path)).toBe(before);
  expect(await home.account('newer')).toBeNull();
  expect(await steward.alice.answers(said)).toEqual([]);
});

test('a damaged store is refused, and left as it is', async () => {
  const steward = await home.steward();
  await steward.stop();
  const path = join(steward.dataDir, 'steward.db');
  writeFileSync(path, 'x'.repeat(8192));

  const { end, said } = await refused(steward);

  expect(end).toBe('exit code 1');
  expect(said).toMatch(/error: cannot open the store .+ \(store\.unreadable\)\nhint: /);
  expect(readFileSync(path, 'utf8')).toBe('x'.repeat(8192));
});

describe('one store', () => {
  test('is for one daemon: a second waits 5 s and is refused, and the first goes on', async () => {
    const steward = await home.steward();
    const begin = performance.now();

    const second = await steward.shell('run');

    expect(second).toMatchObject({ exit: 3, out: '', err: expect.stringMatching(/error: cannot .+ \(store\.locked\)\nhint: /) });
    expect(performance.now() - begin).toBeGreaterThan(5000);
    expect(resultOf(await steward.alice.ask('!user create undisturbed'))?.outcome).toBe('done');
    expect(await steward.shell('user', 'info', 'undisturbed')).toMatchObject({ exit: 0 });
    await steward.stop();
  });

  test('serves two shells at once where a daemon runs', async () => {
    const steward = await home.steward();

    const [first, second] = await Promise.all([steward.shell('user', 'create', 'shell1'), steward.shell('user', 'create', 'shell2')]);

    expect([first.exit, second.exit]).toEqual([0, 0]);
    for (const name of ['shell1', 'shell2']) expect(await home.account(name)).not.toBeNull();
    await steward.stop();
  });

  test('serves one shell at a time where none runs: the second waits its turn', async () => {
    const steward = await home.steward({ start: false, proxied: true });
    home.proxy.fault({ name: 'slow', match: isWrite, action: { delay: 2000 } });

    const [first, second] = await Promise.all([steward.shell('user', 'create', 'turn1'), steward.shell('user', 'create', 'turn2')]);

    expect([first.exit, second.exit]).toEqual([0, 0]);
    for (const name of ['turn1', 'turn2']) expect(await home.account(name)).not.toBeNull();
  });

  test('is refused to a shell after 5 s of waiting for another', async () => {
    const steward = await home.steward({ start: false, proxied: true });
    home.proxy.fault({ name: 'very slow', match: isWrite, action: { delay: 7500 } });
    const first = steward.shell('user', 'create', 'long');
    await until(() => home.proxy.requests.findLast(isWrite)?.path.includes('long'), 10_000, 'the first is at work');
    const begin = performance.now();

    const second = await steward.shell('user', 'create', 'late');

    expect(second).toMatchObject({ exit: 3, out: '', err: expect.stringContaining('(store.locked)') });
    expect(performance.now() - begin).toBeGreaterThan(5000);
    expect(await home.account('late')).toBeNull();
    expect(steward.password('late')).toBeNull();
    expect((await first).exit).toBe(0);
    expect(await home.account('long')).not.toBeNull();
  });
});
