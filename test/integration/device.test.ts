import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { login, type RoomEvent } from '../../kit/client.ts';
import { openEncryptedClient } from '../../kit/encrypted-client.ts';
import { Homeserver } from './support/homeserver.ts';
import { killUnderTraffic } from './support/kills.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';
import { openWebhook } from './support/webhook.ts';

/** The device of Steward: its keys, their loss, and what must never be lost by a crash. */

jest.setTimeout(240_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

const sentinel = '!server version';

function inStore<T>(steward: Steward, work: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'));
  const result = work(database);
  database.close();
  return result;
}

const identityIn = (answer: RoomEvent): string | undefined => /identity: (.*)$/m.exec(bodyOf(answer))?.[1];

/** A client shares its keys with a new device only when it has heard of it: asked again until then. */
async function answersAgain(steward: Steward): Promise<void> {
  await until(async () => resultOf(await steward.alice.ask(sentinel))?.outcome === 'done', 20_000, 'it answers');
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

  await answersAgain(steward);
  const crypto = bodyOf(await steward.alice.ask('!server crypto'));
  expect(/identity: (.*)$/m.exec(crypto)?.[1]).toBe(identity);
  expect(crypto).toContain('signed: yes');
  expect(crypto).toContain('identity keys: in the store');
  const after = home.rows('SELECT device_id FROM devices WHERE user_id = ? AND hidden = 0', steward.bot.userId);
  expect(after).toHaveLength(1);
  expect(after).not.toEqual(before);
  await steward.stop();
});

test('the doctor tells of recovery material that is not there, or of another identity', async () => {
  const steward = await home.steward({ encrypted: true });
  await steward.alice.ask(sentinel);
  const path = join(steward.dataDir, 'secrets', 'crypto-recovery.json');
  const looks = async (): Promise<string> =>
    `${bodyOf(await steward.alice.ask('!server doctor'))}\n${bodyOf(await steward.alice.ask('!server crypto'))}`;
  const sound = await looks();
  expect(sound).toMatch(/🟢 crypto: the device \w+ is signed, .*; the recovery material is in place/);
  expect(sound).toMatch(/recovery: .*crypto-recovery\.json is in place/);

  const material = readFileSync(path, 'utf8');
  rmSync(path);
  const without = await looks();
  expect(without).toMatch(/🟠 crypto: .*is missing: with the store Steward's identity is lost/);
  expect(without).toMatch(/recovery: .*is ⚠️ missing/);

  const [master, other] = [/"master": "(.)/.exec(material)?.[1] ?? '', 'AB'] as const;
  writeFileSync(path, material.replace(`"master": "${master}`, `"master": "${other.replace(master, '').slice(0, 1)}`));
  expect(await looks()).toMatch(/🟠 crypto: .*is of another identity/);
  writeFileSync(path, '{}');
  expect(await looks()).toMatch(/🟠 crypto: .*is unreadable/);
  writeFileSync(path, material);
  expect(await looks()).toMatch(/🟢 crypto: /);
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

describe('steward crypto reset', () => {
  const recoveryOf = (steward: Steward): string => join(steward.dataDir, 'secrets', 'crypto-recovery.json');
  const devicesOf = (steward: Steward): unknown[] =>
    home.rows('SELECT device_id FROM devices WHERE user_id = ? AND hidden = 0', steward.bot.userId).map((row) => row['device_id']);
  const everything = (steward: Steward): unknown => ({
    devices: devicesOf(steward),
    token: readFileSync(join(steward.dir, 'secrets', 'token'), 'utf8'),
    password: home.rows('SELECT password_hash FROM users WHERE name = ?', steward.bot.userId),
    device: inStore(steward, (database) => database.prepare('SELECT device_id, digest FROM device').get()),
    pins: inStore(steward, (database) => database.prepare('SELECT * FROM identity_pins').all()),
    facts: inStore(steward, (database) => database.prepare("SELECT * FROM facts WHERE name <> 'probe'").all()),
  });

  test('changes nothing without the recovery material of the identity, and says so', async () => {
    const steward = await home.steward({ encrypted: true });
    await asBot(steward);
    await steward.alice.ask(sentinel);
    await steward.stop();
    const recovery = recoveryOf(steward);
    const right = readFileSync(recovery, 'utf8');
    const before = everything(steward);
    rmSync(recovery);
    expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 1, err: expect.stringContaining('crypto.no-recovery') });
    expect(await steward.shell('crypto', 'verify')).toMatchObject({ exit: 1, out: expect.stringContaining('✗ recovery material: ') });

    for (const part of ['master', 'self_signing', 'user_signing']) {
      const wrong = { ...(JSON.parse(right) as object), [part]: Buffer.alloc(32, 7).toString('base64').replace('=', '') };
      writeFileSync(recovery, JSON.stringify(wrong), { mode: 0o600 });
      expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 1, err: expect.stringContaining('crypto.wrong-recovery') });
      const { exit, out } = await steward.shell('crypto', 'verify');
      expect({ exit, out }).toEqual({ exit: 1, out: expect.stringContaining('✗ recovery material and homeserver: not the same keys') });
    }
    writeFileSync(recovery, '{"master":"half', { mode: 0o600 });
    expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 1, err: expect.stringContaining('crypto.wrong-recovery') });
    expect(everything(steward)).toEqual(before);

    writeFileSync(recovery, right, { mode: 0o600 });
    await steward.start();
    expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
    await steward.stop();
  });

  test('sets no password of an account that is not its own, and takes the token of a device that somebody has made', async () => {
    const steward = await home.steward({ encrypted: true });
    await steward.alice.ask(sentinel);
    await steward.stop();
    const before = everything(steward);
    const refused = await steward.shell('crypto', 'reset');
    expect(refused).toMatchObject({ exit: 3, err: expect.stringContaining('init.account-taken') });
    expect(refused.err).toContain('--token-file');
    steward.putToken(home.alice.client.accessToken);
    expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 3, err: expect.stringContaining('init.account-taken') });
    steward.putToken(steward.bot.accessToken);
    expect(everything(steward)).toEqual(before);

    const made = await login(home.synapse.url, steward.bot.userId, steward.bot.password);
    steward.putSecret('given', steward.bot.accessToken);
    const given = join(steward.dir, 'secrets', 'given');
    expect(await steward.shell('crypto', 'reset', '--token-file', given)).toMatchObject({ exit: 2 });
    steward.putSecret('given', `${made.accessToken}\n`);
    expect(await steward.shell('crypto', 'reset', '--token-file', given)).toMatchObject({ exit: 0, err: '' });
    expect(devicesOf(steward)).toEqual([made.deviceId]);
    await steward.start();
    await answersAgain(steward);
    await steward.stop();
  });

  test.each(['before', 'after'])('killed %s any of its commits leaves the old device, or is finished by the next run', async (moment) => {
    const steward = await home.steward({ encrypted: true });
    await asBot(steward);
    const identity = identityIn(await steward.alice.ask('!server crypto'));
    await steward.stop();
    const states: string[] = [];
    for (let commit = 1; ; commit += 1) {
      const crashed = await steward.shellWith({ STEWARD_CRASH_AT: `${moment}:${commit}` }, 'crypto', 'reset');
      if (crashed.exit === 0) break;
      expect({ moment, commit, exit: crashed.exit, err: crashed.err }).toEqual({ moment, commit, exit: -1, err: '' });

      const logged = steward.log.length;
      await steward.start('alive');
      const state = await until(
        async () =>
          steward.log.slice(logged).includes('crypto.other-device')
            ? 'refused'
            : (await steward.health('readyz')).status === 200
              ? 'ready'
              : null,
        15_000,
        `after ${moment}:${commit} it is ready, or says what is to be done`,
      );
      if (state === 'ready') await answersAgain(steward);
      states.push(state);
      await steward.stop();
      expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 0, err: '' });
      expect(devicesOf(steward)).toHaveLength(1);
      await steward.start();
      await answersAgain(steward);
      await steward.stop();
    }
    // Before the store is swapped and after the token is written is the one place where a start must refuse.
    expect(states).toEqual(moment === 'before' ? ['ready', 'refused', 'ready'] : ['ready', 'ready', 'ready']);
    await steward.start();
    await answersAgain(steward);
    expect(identityIn(await steward.alice.ask('!server crypto'))).toBe(identity);
    expect(devicesOf(steward)).toHaveLength(1);
    await steward.stop();
    const verified = await steward.shell('crypto', 'verify');
    expect(verified).toMatchObject({ exit: 0, out: expect.not.stringContaining('✗') });
  });

  test('an answer whose arrival was never heard of is not said again by the new device', async () => {
    const steward = await home.steward({ encrypted: true, proxied: true });
    await asBot(steward);
    await steward.alice.ask(sentinel);
    const cut = home.proxy.fault({
      name: 'the answer arrives, and Steward never hears of it',
      match: ({ method, path }) => method === 'PUT' && path.includes('/send/m.room.encrypted/'),
      times: Infinity,
      action: 'forward-then-reset',
    });
    const said = await steward.alice.say(sentinel);
    await until(async () => cut.hits > 0 && (await steward.alice.answers(said)).length > 0, 15_000, 'its answer is there');
    await steward.kill();
    cut.remove();
    expect(await steward.alice.answers(said)).toHaveLength(1);
    expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 0, err: '' });
    await steward.start();
    await answersAgain(steward);
    expect(await steward.alice.answers(said)).toHaveLength(1);
    await steward.alice.hears((body) => body.startsWith('I have a new device'));
    await steward.stop();
  });

  test('--new-identity takes the place of one that was replaced or whose material is lost; it is told, audited, and clients read what it says', async () => {
    const hook = await openWebhook();
    const steward = await home.steward({ encrypted: true, start: false });
    steward.putSecret('hook', hook.url);
    steward.configure({ alerts: { webhook: { url_file: 'secrets/hook' } } });
    await steward.start();
    await asBot(steward);
    const old = identityIn(await steward.alice.ask('!server crypto'));
    const thief = await openEncryptedClient({ ...steward.bot, url: home.synapse.url });
    await thief.resetIdentity();
    thief.close();
    await until(() => hook.alerts.some(({ alerts }) => alerts.includes('identity.replaced')), 15_000, 'the alert arrives');
    const alert = hook.alerts.find(({ alerts }) => alerts.includes('identity.replaced'));
    expect(alert?.body).toContain('steward crypto reset --new-identity');
    await steward.stop();
    expect(await steward.shell('crypto', 'verify')).toMatchObject({
      exit: 1,
      out: expect.stringContaining('✗ identity on the homeserver'),
    });
    expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 1, err: expect.stringContaining('--new-identity') });

    rmSync(recoveryOf(steward));
    // Killed where the new keys are published and the store is still the old device's: the next run goes on with the same keys.
    expect((await steward.shellWith({ STEWARD_CRASH_AT: 'before:2' }, 'crypto', 'reset', '--new-identity')).exit).toBe(-1);
    const published = home.rows(
      "SELECT keydata FROM e2e_cross_signing_keys WHERE user_id = ? AND keytype = 'master' ORDER BY stream_id",
      steward.bot.userId,
    );
    expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 0, err: '', out: expect.stringContaining('new identity') });
    expect(
      home.rows(
        "SELECT keydata FROM e2e_cross_signing_keys WHERE user_id = ? AND keytype = 'master' ORDER BY stream_id",
        steward.bot.userId,
      ),
    ).toEqual(published);
    expect(devicesOf(steward).filter((device) => String(device).startsWith('STEWARD'))).toHaveLength(1);
    await steward.start();
    await answersAgain(steward);
    const crypto = await steward.alice.ask('!server crypto');
    expect(crypto.encrypted).toBe(true);
    expect(identityIn(crypto)).not.toBe(old);
    expect(String(published.at(-1)?.['keydata'])).toContain(String(identityIn(crypto)).replaceAll(' ', ''));
    await steward.alice.hears((body) => body.includes('My identity is new as well'));
    expect(bodyOf(await steward.alice.ask('!audit list'))).toContain('device.reset');
    await steward.stop();
    expect(await steward.shell('crypto', 'verify')).toMatchObject({ exit: 0 });
    hook.close();
  });
});
