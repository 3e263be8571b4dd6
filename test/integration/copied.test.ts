import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { freePort, startChild, waitUntilReady, type Child } from '../../kit/process.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** A copy of the store, started elsewhere with the same token, beside the Steward that it was copied from. */

jest.setTimeout(90_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');
const sentinel = '!server version';

let home: Homeserver;
let steward: Steward;
let dir: string;
let port: number;
let copy: Child | null;

beforeAll(async () => {
  home = await Homeserver.start();
});

beforeEach(async () => {
  steward = await home.steward();
  await steward.alice.ask(sentinel);
  dir = mkdtempSync(join(tmpdir(), 'copied-'));
  port = await freePort();
  copy = null;
  // As somebody would who moves to another machine: the whole folder, while the daemon runs.
  cpSync(steward.dir, dir, { recursive: true, filter: (path) => !path.endsWith('.sock') });
  writeFileSync(join(dir, 'steward.yaml'), readFileSync(steward.configPath, 'utf8').replace(/listen: .*/, `listen: 127.0.0.1:${port}`));
});

afterEach(async () => {
  await copy?.kill();
  await steward.stop();
  rmSync(dir, { recursive: true, force: true });
});

afterAll(() => home.dispose());

const command = (): [string, ...string[]] => [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  main,
  'run',
  '--config',
  join(dir, 'steward.yaml'),
];

async function startCopy(): Promise<void> {
  const logPath = join(dir, 'copy.log');
  copy = await startChild({ command: command(), cwd: dir, logPath });
  await waitUntilReady('the copy', copy, logPath, async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200, 20_000);
}

test('a copy that is started takes over: it alone answers, once, and nothing that was done is done again', async () => {
  const done = await steward.alice.say('!user create before-the-copy');
  await steward.alice.answer(done);
  await startCopy();
  await steward.becomes(503);

  const asked = await steward.alice.say('!user create by-the-copy');
  expect(resultOf(await steward.alice.answer(asked))?.outcome).toBe('done');
  await steward.alice.ask(sentinel);
  expect(await steward.alice.answers(asked)).toHaveLength(1);
  expect(await steward.alice.answers(done)).toHaveLength(1);
  expect(await steward.shell('user', 'create', 'by-the-shell')).toMatchObject({
    exit: 3,
    err: expect.stringContaining('store.superseded'),
  });
  expect(await home.account('by-the-shell')).toBeNull();

  // A restart changes nothing about it.
  await steward.stop();
  await steward.start('alive');
  await until(() => steward.log.slice(-3000).includes('store.superseded'), 15_000, 'it hears that it is superseded');
  const again = await steward.alice.say('!user create once-more');
  await steward.alice.answer(again);
  await steward.alice.ask(sentinel);
  expect(await steward.alice.answers(again)).toHaveLength(1);
});

test('the first takes over again: then the copy stops', async () => {
  await startCopy();
  await steward.becomes(503);
  await steward.stop();
  await steward.start('ready', [], ['--take-over']);
  await until(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 503, 20_000, 'the copy has stopped');
  const asked = await steward.alice.say('!user create back-again');
  expect(bodyOf(await steward.alice.answer(asked))).toContain('back-again');
  await steward.alice.ask(sentinel);
  expect(await steward.alice.answers(asked)).toHaveLength(1);
});

test('a Steward that is moved, or started again, is no copy', async () => {
  await steward.kill();
  await steward.start();
  expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
});
