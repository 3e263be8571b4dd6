import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.ts';
import type { Config } from '../../src/config/schema.ts';
import { Secret } from '../../src/config/secret.ts';
import { lookWhetherAdmin } from '../../src/doctor/homeserver.ts';
import { SynapseHttp } from '../../src/homeserver/synapse/http.ts';
import { Synapse } from '../../src/homeserver/synapse/synapse.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook, type Webhook } from './support/webhook.ts';

/** The doctor in room and shell, and what its watch makes of a homeserver that is stopped. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;
let hook: Webhook;

beforeAll(async () => {
  home = await Homeserver.start();
  hook = await openWebhook();
  steward = await home.steward({
    start: false,
    config: { alerts: { webhook: { url_file: 'secrets/hook' } }, doctor: { every: '1s' } },
  });
  steward.putSecret('hook', hook.url);
  await steward.start();
});

afterAll(async () => {
  hook.close();
  await home.dispose();
});

const names = [
  'homeserver',
  'token',
  'admin',
  'rate-limit',
  'room',
  'crypto',
  'store',
  'disk',
  'clock',
  'backups',
  'engine',
  'restores',
  'heartbeat',
  'channels',
];

interface Document {
  healthy: boolean;
  lines: { name: string; state: string; fix: string | null }[];
  tests: { channel: string; taken: boolean }[];
}
const states = (out: string): Record<string, string> =>
  Object.fromEntries((JSON.parse(out) as Document).lines.map(({ name, state }) => [name, state]));

test('every line is told in the room and in the shell, and nothing fails on a sound server', async () => {
  const { exit, out } = await steward.shell('doctor', '--json');
  expect(exit).toBe(0);
  expect(Object.keys(states(out))).toEqual(names);
  expect(Object.values(states(out))).not.toContain('fail');
  const answer = await steward.alice.ask('!server doctor');
  expect(resultOf(answer)?.outcome).toBe('done');
  for (const name of names) expect(bodyOf(answer)).toContain(`${name}: `);
});

test('a test message reaches the web hook, and is no alert', async () => {
  const { exit, out } = await steward.shell('doctor', '--channel', 'webhook', '--json');
  expect(exit).toBe(0);
  expect((JSON.parse(out) as Document).tests).toEqual([{ channel: 'webhook', taken: true, problem: null }]);
  expect(hook.alerts.map(({ title }) => title)).toEqual(['Test message']);
  expect(await steward.shell('doctor', '--channel', 'ntfy')).toMatchObject({ exit: 2, err: expect.stringContaining('no `alerts.ntfy`') });
});

test('Synapse stopped: the web hook is told once, the room when it is back, and both that it is over', async () => {
  const before = hook.alerts.length;
  await home.synapse.stop();
  await until(() => hook.alerts.length > before, 20_000, 'the alert arrives with Synapse stopped');
  expect(hook.alerts.at(-1)).toMatchObject({ alerts: ['doctor.homeserver'], severity: 'critical' });
  const { exit, out } = await steward.shell('doctor', '--json');
  expect(exit).toBe(1);
  expect(states(out)).toMatchObject({ homeserver: 'fail', token: 'skipped', clock: 'skipped', store: 'ok', channels: 'ok' });

  await home.synapse.start();

  const told = await steward.alice.hears((body) => body.includes('(doctor.homeserver)') && body.startsWith('🔴'), 30_000);
  expect(told.content['msgtype']).toBe('m.text');
  expect((told.content['m.mentions'] as { user_ids: string[] }).user_ids.sort()).toEqual([home.userId('alice'), home.userId('bob')]);
  await steward.alice.hears((body) => body.startsWith('🟢 over:') && body.includes('(doctor.homeserver)'), 30_000);
  await until(() => hook.alerts.length === before + 2, 10_000, 'the end of it arrives');
  expect(hook.alerts.at(-1)).toMatchObject({ alerts: ['doctor.homeserver'], severity: 'info' });
});

test('an alert in the room is taken and muted by its buttons, and only by who may', async () => {
  // No channel off the homeserver is itself an alert.
  steward.configure({ alerts: {} });
  steward.reload();
  const told = await steward.alice.hears((body) => body.includes('(doctor.channels)'), 20_000);
  const buttons = async (): Promise<unknown[]> =>
    (await steward.alice.history())
      .filter(
        ({ sender, type, content }) =>
          sender === steward.bot.userId && type === 'm.reaction' && relationOf({ content } as never)['event_id'] === told.event_id,
      )
      .map(({ content }) => relationOf({ content } as never)['key']);
  await until(async () => (await buttons()).length === 2, 10_000, 'the buttons are there');

  await steward.carol.react(told.event_id, '🔕');
  const refused = await steward.alice.answer(told.event_id);
  expect(resultOf(refused)).toMatchObject({ outcome: 'refused', error_id: 'access.no-role' });

  await steward.bob.react(told.event_id, '🙋');
  await steward.alice.hears((body) => body === 'bob has it: doctor.channels.');
  await steward.alice.react(told.event_id, '🔕');
  await steward.alice.hears((body) => /^Muted by alice until .+: doctor\.channels\.$/.test(body));

  // Muted, it comes and goes in silence.
  steward.configure({ alerts: { webhook: { url_file: 'secrets/hook' } } });
  steward.reload();
  await steward.alice.hears((body) => body.startsWith('🟢 over:') && body.includes('(doctor.channels)'), 20_000);
  const quiet = (await steward.alice.history()).length;
  steward.configure({ alerts: {} });
  steward.reload();
  await until(async () => (await steward.shell('doctor')).exit === 1, 10_000, 'the line fails again');
  await steward.alice.ask('!help');
  expect((await steward.alice.history()).slice(quiet).filter((event) => bodyOf(event).includes('(doctor.channels)'))).toEqual([]);
});

test('an account that is not there is told as none, and not as an admin', async () => {
  const http = new SynapseHttp({
    baseUrl: home.synapse.url,
    token: new Secret(readFileSync(join(steward.dir, 'secrets/token'), 'utf8')),
    clock: systemClock,
  });
  const homeserver = new Synapse(home.serverName, http, http);
  const lookAt = (userId: string): Promise<unknown> => lookWhetherAdmin(homeserver, { homeserver: { userId } } as Config);
  expect(await lookAt(steward.bot.userId)).toMatchObject({ state: 'ok' });
  expect(await lookAt(home.userId('nobody'))).toMatchObject({
    state: 'fail',
    detail: `the homeserver has no account ${home.userId('nobody')}`,
    fix: expect.stringContaining('homeserver.user_id'),
  });
});

test('without a daemon it works too, and fails where no channel is set', async () => {
  await steward.stop();
  const { exit, out } = await steward.shell('doctor', '--json');
  expect(exit).toBe(1);
  expect(states(out)).toMatchObject({ homeserver: 'ok', token: 'ok', admin: 'ok', store: 'ok', channels: 'fail' });
});
