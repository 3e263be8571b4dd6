import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { FaultAction, ProxiedRequest } from '../../kit/proxy.ts';
import { Homeserver } from './support/homeserver.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** A shell that took the store and is killed in the middle of a change; no daemon runs. */

jest.setTimeout(90_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ proxied: true });
  await steward.stop();
});

afterAll(() => home.dispose());

const isPut = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'PUT' && path.startsWith('/_synapse/admin/');
const page = { status: 502, body: 'Bad Gateway' };

/** A shell that was killed while it created an account. */
async function killedWhileCreating(name: string, action: FaultAction): Promise<void> {
  const write = home.proxy.fault({ name: `${name} is under way`, match: isPut, action });
  const shell = steward.startShell('user', 'create', name);
  await until(() => write.hits > 0, 15_000, 'it is under way');
  // The homeserver has it, where it is to have it.
  if (action !== 'hang') await until(async () => (await home.account(name)) !== null, 15_000, 'the account is there');
  shell.kill();
  await shell.ended;
}

const jobs = async (): Promise<string> => (await steward.shell('job', 'list')).out;

test('what it had done is done for the next shell, and what it had not is failed', async () => {
  await killedWhileCreating('shell1', { hold: new Promise(() => undefined) });
  await killedWhileCreating('shell2', 'hang');

  const listed = await jobs();

  expect(listed).not.toContain('running');
  expect(
    listed
      .split('\n')
      .filter((line) => line.includes('user create'))
      .map((line) => /done|failed/.exec(line)?.[0]),
  ).toEqual(['failed', 'done']);
  expect(await home.logsIn('shell1', steward.password('shell1') ?? '')).toBe(true);
  expect(await home.account('shell2')).toBeNull();
});

test('what cannot be looked at waits for one that can, and is not called unknown', async () => {
  await killedWhileCreating('shell3', { hold: new Promise(() => undefined) });
  const down = home.proxy.fault({ name: 'the homeserver is down', match: () => true, times: Number.POSITIVE_INFINITY, action: page });

  expect(await jobs()).toContain('running');

  down.remove();
  expect(await jobs()).not.toContain('running');
  expect(await home.logsIn('shell3', steward.password('shell3') ?? '')).toBe(true);
});

test('a daemon finishes it too', async () => {
  await killedWhileCreating('shell4', { hold: new Promise(() => undefined) });

  await steward.start();

  await until(async () => !(await jobs()).includes('running'), 15_000, 'it is looked at');
  expect(await home.logsIn('shell4', steward.password('shell4') ?? '')).toBe(true);
  await steward.stop();
});
