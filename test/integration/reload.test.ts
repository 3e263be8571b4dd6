import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { appendFileSync } from 'node:fs';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook } from './support/webhook.ts';

/** The configuration read again while Steward runs. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
});

beforeEach(async () => {
  steward = await home.steward();
});

afterEach(() => steward.stop());

afterAll(() => home.dispose());

const owner = (localpart: string): Record<string, unknown> => ({ user_ids: [home.userId(localpart)], roles: ['owner'] });

test('SIGHUP gives a person a role, and takes it away', async () => {
  expect(resultOf(await steward.carol.ask('!user list'))).toMatchObject({ error_id: 'access.no-role' });

  steward.configure({ people: { alice: owner('alice'), carol: owner('carol') } });
  await steward.reread();
  expect(resultOf(await steward.carol.ask('!user create by-carol'))?.outcome).toBe('done');
  const bob = await steward.bob.say('!user create by-bob');
  expect(resultOf(await steward.bob.answer(bob))).toMatchObject({ outcome: 'refused', error_id: 'access.no-role' });

  expect(await home.account('by-carol')).not.toBeNull();
  expect(await home.account('by-bob')).toBeNull();
});

test('a role bounds what a person may ask for, from the next command on', async () => {
  steward.configure({
    roles: { owner: { owner: true }, helper: { request: { groups: ['user'], tier: 'change' } } },
    people: { alice: owner('alice'), bob: { user_ids: [home.userId('bob')], roles: ['helper'] } },
  });
  await steward.reread();
  const { password } = await home.register('bounded');

  expect(resultOf(await steward.bob.ask('!user create helped'))?.outcome).toBe('done');
  for (const line of ['!user update-password bounded -y', '!server status', '!server reload']) {
    expect(resultOf(await steward.bob.ask(line))).toMatchObject({ outcome: 'refused', error_id: 'access.not-allowed' });
  }
  expect(await home.logsIn('bounded', password)).toBe(true);
});

test('!server reload says what has changed, and what needs a restart', async () => {
  expect(bodyOf(await steward.alice.ask('!server reload'))).toContain('nothing has changed');
  steward.configure({
    limits: { bulk: 1 },
    guards: { protected: ['@guarded*:*'] },
    room: { id: steward.roomId, name: 'prod' },
    log: { level: 'info' },
  });

  const answer = await steward.alice.ask('!server reload');

  expect(bodyOf(answer)).toContain('Changed: room, guards, limits, log.');
  expect(bodyOf(answer)).toContain('In force after a restart: log.');
  expect(resultOf(await steward.alice.ask('!user create -y\n```\none\ntwo\n```'))).toMatchObject({ error_id: 'approval.plain-room' });
  await home.register('guarded1');
  expect(resultOf(await steward.alice.ask('!prod user update-password guarded1 -y'))).toMatchObject({ error_id: 'guard.protected' });
  expect(await home.account('one')).toBeNull();
});

describe('a file with mistakes', () => {
  test('is refused with all of them, and the one in force stays', async () => {
    appendFileSync(steward.configPath, 'limitz:\n  bulk: 3\ntime_zone: Mars/Olympus\n');

    const answer = await steward.alice.ask('!server reload');

    expect(resultOf(answer)).toMatchObject({ outcome: 'usage', error_id: 'config.invalid' });
    for (const part of ['limitz', 'limits', 'time_zone', 'steward.yaml']) expect(bodyOf(answer)).toContain(part);
    await steward.reread();
    expect(steward.log).toContain('the old one stays');
    expect(resultOf(await steward.alice.ask('!user create still'))?.outcome).toBe('done');
    expect(await home.account('still')).not.toBeNull();
  });

  test('such as a token that cannot be read leaves the old token in force', async () => {
    steward.configure({
      homeserver: { url: home.synapse.url, server_name: home.serverName, user_id: steward.bot.userId, access_token_file: 'secrets/none' },
    });

    expect(bodyOf(await steward.alice.ask('!server reload'))).toContain('access_token_file');

    expect(resultOf(await steward.alice.ask('!user list'))?.outcome).toBe('done');
  });
});

test('an alert goes where the newest configuration says', async () => {
  const hooks = [await openWebhook(), await openWebhook()] as const;
  steward.putSecret('hook', hooks[0].url);
  steward.configure({ alerts: { webhook: { url_file: 'secrets/hook' } } });
  await steward.reread();
  steward.putSecret('hook', hooks[1].url);
  expect(bodyOf(await steward.alice.ask('!server reload'))).toContain('Changed: alerts.');

  await home.alice.client.request('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(steward.roomId)}/kick`, {
    user_id: steward.bot.userId,
  });

  await until(() => hooks[1].alerts.length > 0, 5000, 'the alert arrives');
  expect(hooks.map((hook) => hook.alerts.map(({ alerts }) => alerts))).toEqual([[], [['room.unheard']]]);
  for (const hook of hooks) hook.close();
});
