import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { login } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { killUnderTraffic } from './support/kills.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** The device of Steward: its keys, their loss, and what must never be lost by a crash. */

jest.setTimeout(180_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

const sentinel = '!server version';

function inStore(steward: Steward, work: (database: DatabaseSync) => void): void {
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'));
  work(database);
  database.close();
}

/** An account that init has made is of type bot; the kit's are not. */
async function asBot(steward: Steward): Promise<void> {
  await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(steward.bot.userId)}`, { user_type: 'bot' });
}

test('killed 20 times under traffic, nothing is undecryptable on either side, and each command is answered once', async () => {
  await killUnderTraffic(home, 20);
});

test('keys that cannot be read are told, never replaced in silence; a new device is signed by the same identity', async () => {
  const steward = await home.steward({ encrypted: true });
  await asBot(steward);
  await steward.alice.ask(sentinel);
  const identity = /identity: (.*)$/m.exec(bodyOf(await steward.alice.ask('!server crypto')))?.[1];
  await steward.stop();
  expect(await steward.shell('crypto', 'verify')).toMatchObject({ exit: 0, out: expect.stringContaining('✓ signature on the homeserver') });
  inStore(steward, (database) => database.exec("UPDATE device SET snapshot = x'00112233'"));

  await steward.start('alive');
  await until(() => steward.log.includes('crypto.unreadable'), 15_000, 'it says that the keys cannot be read');
  expect((await steward.health('readyz')).status).toBe(503);
  await steward.stop();
  const before = home.rows('SELECT device_id FROM devices WHERE user_id = ? AND hidden = 0', steward.bot.userId);
  expect(await steward.shell('crypto', 'status')).toMatchObject({ exit: 0, out: expect.stringContaining('cannot be read') });
  expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 0, err: '' });
  await steward.start();

  expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  const crypto = bodyOf(await steward.alice.ask('!server crypto'));
  expect(/identity: (.*)$/m.exec(crypto)?.[1]).toBe(identity);
  expect(crypto).toContain('signed: yes');
  const after = home.rows('SELECT device_id FROM devices WHERE user_id = ? AND hidden = 0', steward.bot.userId);
  expect(after).toHaveLength(1);
  expect(after).not.toEqual(before);
  await steward.stop();
});

test('the token of another device is refused, with the fix', async () => {
  const steward = await home.steward({ encrypted: true });
  await steward.alice.ask(sentinel);
  await steward.stop();
  const { accessToken } = await login(home.synapse.url, steward.bot.userId, steward.bot.password);
  steward.putToken(accessToken);
  await steward.start('alive');
  await until(() => steward.log.includes('crypto.other-device'), 15_000, 'it says whose the token is');
  expect((await steward.health('readyz')).status).toBe(503);
  await steward.stop();
  steward.putToken(steward.bot.accessToken);
  await steward.start();
  expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  await steward.stop();
});

test('without its recovery material no new device is begun, and with another none is signed', async () => {
  const steward = await home.steward({ encrypted: true });
  await asBot(steward);
  await steward.alice.ask(sentinel);
  await steward.stop();
  const recovery = join(steward.dataDir, 'secrets', 'crypto-recovery.json');
  const right = readFileSync(recovery, 'utf8');
  rmSync(recovery);
  expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 1, err: expect.stringContaining('crypto.no-recovery') });
  expect(await steward.shell('crypto', 'verify')).toMatchObject({ exit: 1, out: expect.stringContaining('✗ recovery material') });

  const wrong = { ...(JSON.parse(right) as object), master: Buffer.alloc(32, 7).toString('base64').replace('=', '') };
  writeFileSync(recovery, JSON.stringify(wrong), { mode: 0o600 });
  expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 0 });
  await steward.start('alive');
  await until(() => steward.log.includes('crypto.wrong-recovery'), 15_000, 'it says that the material is wrong');
  expect((await steward.health('readyz')).status).toBe(503);
  await steward.stop();

  writeFileSync(recovery, right, { mode: 0o600 });
  await steward.start();
  expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
  expect(readFileSync(recovery, 'utf8')).toBe(right);
  await steward.stop();
});
