import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { makeAgeKey } from '../../kit/age.ts';
import type { RoomEvent } from '../../kit/client.ts';
import { sql } from '../../kit/postgres.ts';
import { Homeserver } from './support/homeserver.ts';
import { loseMachine, typedOf, typeSheet } from './support/rescue.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import { until } from './support/until.ts';

/** The machine is lost, Steward with it. What is left is a destination and a key; what is typed stands on the rescue sheet. */

jest.setTimeout(240_000);

let world: RestoreWorld;
/** What is left. */
let left = '';
let then: string;
let media: string;
let files: string;
let held: { id: string; audit: unknown; schedules: unknown; databasePassword: string };

beforeAll(async () => {
  world = await RestoreWorld.open();
  await world.upload('kept');
  expect(await world.steward('schedule add nightly "30 2 * * *" "backup create"')).toMatchObject({ outcome: 'done' });
  // Recovery material of the bot's identity, as a Steward in an encrypted room has it.
  mkdirSync(join(world.dir, 'data/secrets'), { recursive: true, mode: 0o700 });
  writeFileSync(join(world.dir, 'data/secrets/crypto-recovery.json'), '{"master":"m"}', { mode: 0o600 });
  const store = (await world.core()).store.database;
  store.exec(
    `INSERT INTO device (id, user_id, device_id, snapshot, digest, taken_at) VALUES (1, '@bot:example.org', 'D', x'${'5e551075'.repeat(2000)}', x'00', 0)`,
  );
  store.exec("INSERT INTO facts (name, value) VALUES ('sync_token', 's1')");
  then = await world.settledOracle();
  media = world.mediaTree();
  files = world.files();
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done', result: { contentLevel: 4 } });
  const rows = (query: string): unknown => store.prepare(query).all();
  held = {
    id: readdirSync(world.disk).find((name) => /^\d/.test(name)) ?? '',
    audit: rows('SELECT seq, hash FROM audit ORDER BY seq LIMIT 3'),
    schedules: rows('SELECT name FROM schedules'),
    databasePassword: readFileSync(join(world.dir, 'database-password'), 'utf8'),
  };
}, 240_000);

afterAll(async () => {
  await world.dispose();
  if (left !== '') rmSync(left, { recursive: true, force: true });
});

test('the sheet holds no secret, and names where everything is', () => {
  const sheet = readFileSync(join(world.disk, 'RESCUE.txt'), 'utf8');
  for (const name of [
    'admin.key',
    'own.key',
    'token',
    'database-password',
    'synapse/signing.key',
    'synapse/registration_shared_secret',
    'data/backup-signing.key',
  ])
    for (const word of readFileSync(join(world.dir, name), 'utf8')
      .split(/\s+/)
      .filter((part) => part.length > 20 && !part.startsWith('age1')))
      expect({ name, said: sheet.includes(word) }).toEqual({ name, said: false });
  expect(sheet).not.toContain(held.databasePassword);
  expect(sheet).not.toContain(world.database.password);
  for (const what of [world.disk, world.configPath, world.synapse.configPath, world.synapse.mediaPath, world.recipient('admin')])
    expect(sheet).toContain(what);
});

test('is the same as long as nothing changes, and renewed with a key', async () => {
  const path = join(world.disk, 'RESCUE.txt');
  const before = readFileSync(path, 'utf8');
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  expect(readFileSync(path, 'utf8')).toBe(before);
  const sealed = readdirSync(join(world.disk, 'rescue'));
  expect(sealed).toHaveLength(1);
  world.closeCore();
  spawnSync('age-keygen', ['-o', join(world.dir, 'second.key')]);
  world.configure({
    backup: {
      destinations: { disk: { directory: world.disk } },
      keys: { recipients: [world.recipient('admin'), world.recipient('second')], identity_file: 'own.key' },
    },
  });
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  expect(readFileSync(path, 'utf8')).not.toContain(world.recipient('second'));
  // Only by an approval, and then at once.
  expect(await world.steward('backup keys accept')).toMatchObject({ outcome: 'done', result: { sheets: [{ problem: null }] } });
  expect(readdirSync(join(world.disk, 'rescue'))).toHaveLength(2);
  expect(readFileSync(path, 'utf8')).toContain(world.recipient('second'));
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
});

test('on a bare machine the server and Steward come back', async () => {
  left = mkdtempSync(join(tmpdir(), 'left-'));
  cpSync(join(world.dir, 'admin.key'), join(left, 'my.key'));
  // Nothing of the machine stays but the disk of the backups.
  await loseMachine(world, ['disk']);
  expect(existsSync(world.configPath)).toBe(false);
  const sheet = readFileSync(join(world.disk, 'RESCUE.txt'), 'utf8');
  expect(typedOf(sheet)).toHaveLength(17);
  // Roles as somebody made them who knows their names and passwords alone.
  await sql(world.postgres.superuser, 'ALTER ROLE steward NOCREATEDB; REVOKE synapse, pg_signal_backend FROM steward');
  // In the folder of the destination, with the key beside it.
  expect(typeSheet(world, { folder: world.disk, key: join(left, 'my.key'), bin: join(left, 'bin'), sheet })).toBe('');

  expect(await world.answers()).toBe(true);
  expect(await world.settledOracle()).toBe(then);
  expect(world.mediaTree()).toBe(media);
  expect(world.files()).toBe(files);
  // Synapse has a user of its own on a real machine, who must get there.
  expect(statSync(dirname(world.synapse.configPath)).mode & 0o055).toBe(0o055);
  const who = await fetch(`${world.synapse.url}/_matrix/client/v3/account/whoami`, {
    headers: { authorization: `Bearer ${world.alice.accessToken}` },
  });
  expect(await who.json()).toMatchObject({ user_id: '@alice:example.org' });
  expect(readdirSync(world.disk).filter((name) => name.endsWith('.key'))).toEqual([]);
});

test('Steward is what it was: schedules, audit, catalogue; its device is made anew from the recovery material', async () => {
  const store = new DatabaseSync(join(world.dir, 'data/steward.db'), { readOnly: true });
  expect(store.prepare('SELECT seq, hash FROM audit ORDER BY seq LIMIT 3').all()).toEqual(held.audit);
  expect(store.prepare('SELECT name FROM schedules').all()).toEqual(held.schedules);
  expect(store.prepare('SELECT count(*) AS n FROM device').get()).toEqual({ n: 0 });
  expect(store.prepare("SELECT value FROM facts WHERE name = 'sync_token'").get()).toBeUndefined();
  expect(store.prepare('SELECT count(*) AS n FROM jobs WHERE finished_at IS NULL').get()).toEqual({ n: 0 });
  store.close();
  expect(readFileSync(join(world.dir, 'data/steward.db')).includes(Buffer.from('5e551075'.repeat(20), 'hex'))).toBe(false);
  expect(readFileSync(join(world.dir, 'data/secrets/crypto-recovery.json'), 'utf8')).toBe('{"master":"m"}');
  expect(await world.steward('audit verify')).toMatchObject({ outcome: 'done' });
  const listed = JSON.stringify((await world.steward('backup list')).parts);
  expect(listed).toContain(held.id);
  expect(await world.steward('backup verify latest')).toMatchObject({ outcome: 'done', result: { destinations: [{ objectLevel: 2 }] } });
  expect(await world.steward('restore finish latest')).toMatchObject({ outcome: 'done' });
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done', result: { newMedia: 0, contentLevel: 3 } });
});

test('in an encrypted room it comes back with a new device of the same identity, which clients go on trusting', async () => {
  const home = await Homeserver.start();
  try {
    const place = mkdtempSync(join(left, 'encrypted-'));
    const recipient = await makeAgeKey(join(place, 'my.key'));
    const steward = await home.steward({
      encrypted: true,
      config: {
        stack: { homeserver_config: [home.synapse.configPath] },
        backup: { destinations: { disk: { directory: join(place, 'disk') } }, keys: { recipients: [recipient] } },
      },
    });
    // An account that init has made is of type bot; the kit's are not.
    await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(steward.bot.userId)}`, { user_type: 'bot' });
    const identityIn = (answer: RoomEvent): string | undefined => /identity: (.*)$/m.exec(bodyOf(answer))?.[1];
    expect(resultOf(await steward.alice.ask('!backup create'))).toMatchObject({ outcome: 'done' });
    const identity = identityIn(await steward.alice.ask('!server crypto'));
    expect(identity).toMatch(/\S/);
    await steward.stop();
    // The machine is lost: what Steward needs is in the backup.
    rmSync(steward.dir, { recursive: true });
    const sheet = readFileSync(join(place, 'disk/RESCUE.txt'), 'utf8').split('\n');
    const typed = sheet.filter((line) => /^(umask|for) |^ID=|steward\.tar\.age/.test(line));
    expect(typed).toHaveLength(5);
    const script = ['set -e -o pipefail', `cd ${join(place, 'disk')}`, `cp ../my.key my.key`, ...typed].join('\n');
    expect(spawnSync('bash', ['-c', script], { encoding: 'utf8' })).toMatchObject({ status: 0 });
    expect(sheet).toContain(`steward crypto reset --config ${steward.configPath}`);
    expect(await steward.shell('crypto', 'reset')).toMatchObject({ exit: 0, err: '' });
    await steward.start();
    // A client shares its keys with a new device only when it has heard of it.
    await until(async () => resultOf(await steward.alice.ask('!server version'))?.outcome === 'done', 30_000, 'it answers');
    const crypto = await steward.alice.ask('!server crypto');
    expect(identityIn(crypto)).toBe(identity);
    expect(bodyOf(crypto)).toContain('signed: yes');
    expect(home.rows('SELECT device_id FROM devices WHERE user_id = ? AND hidden = 0', steward.bot.userId)).toHaveLength(1);
    expect(bodyOf(await steward.alice.ask('!audit verify'))).not.toMatch(/broken|error/i);
    expect(bodyOf(await steward.alice.ask('!backup scan'))).toContain('disk: 1 backups');
    await steward.stop();
  } finally {
    await home.dispose();
  }
});
