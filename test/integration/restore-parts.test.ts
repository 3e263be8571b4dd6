import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { sql } from '../../kit/postgres.ts';
import type { ShellReply } from './support/core-shell.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** Restores of some parts of a backup: the rest of the homeserver stays as it is. */

jest.setTimeout(120_000);

let world: RestoreWorld;
let media: string;

beforeAll(async () => {
  world = await RestoreWorld.open();
  media = world.mediaFile(await world.upload('once'));
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
}, 120_000);

afterEach(async () => {
  await world.steward('restore undo latest --yes');
  await world.steward('restore finish latest');
});

afterAll(() => world.dispose());

const said = ({ parts }: ShellReply): string => JSON.stringify(parts);
const done = async (line: string): Promise<string> => {
  const reply = await world.steward(line);
  expect({ outcome: reply.outcome, said: said(reply) }).toMatchObject({ outcome: 'done' });
  return said(reply);
};

test('media alone: nothing is said of sessions and keys, which the database has', async () => {
  rmSync(media);
  const later = await world.upload('later');
  await done('restore prepare latest --only media --yes');

  const dry = await world.steward('restore cutover latest --dry-run');
  expect(said(dry)).toContain('stop synapse, and start again');
  expect(said(dry)).not.toMatch(/on the data of|are lost/);
  const answer = await done('restore cutover latest');

  expect(answer).not.toMatch(/Sessions and devices|One-time keys|Other servers/);
  expect(readFileSync(media, 'utf8')).toBe('once');
  const found = await sql(
    { ...world.postgres.superuser, name: 'synapse' },
    `SELECT media_id FROM local_media_repository ORDER BY created_ts`,
  );
  expect(found.trim().split('\n').at(-1)).toBe(later);
});

test('a configuration that was the same when it was prepared, and edited since, is put back, which the plan says', async () => {
  const before = readFileSync(world.synapse.configPath, 'utf8');
  expect(await done('restore prepare latest --only config,secrets --yes')).not.toContain('homeserver.yaml');
  appendFileSync(world.synapse.configPath, 'max_upload_size: 1M\n');
  const edited = readFileSync(world.synapse.configPath, 'utf8');

  expect(said(await world.steward('restore cutover latest --dry-run'))).toContain(`replace ${world.synapse.configPath}`);
  expect(await done('restore cutover latest')).toContain(world.synapse.configPath);

  expect(readFileSync(world.synapse.configPath, 'utf8')).not.toContain('max_upload_size');
  await done('restore undo latest --yes');
  expect(readFileSync(world.synapse.configPath, 'utf8')).toBe(edited);
  writeFileSync(world.synapse.configPath, before);
});

test('the password of the database is that of the cutover, where it was changed after the prepare', async () => {
  const before = readFileSync(world.synapse.configPath, 'utf8');
  appendFileSync(world.synapse.configPath, 'max_upload_size: 1M\n');
  await done('restore prepare latest --only config --yes');
  const owner = world.database;
  await sql(world.postgres.superuser, `ALTER ROLE "${owner.user}" PASSWORD 'another'`);
  writeFileSync(world.synapse.configPath, readFileSync(world.synapse.configPath, 'utf8').replace(owner.password, 'another'));

  await done('restore cutover latest');

  const now = readFileSync(world.synapse.configPath, 'utf8');
  expect(now).toContain('another');
  expect(now).not.toContain('max_upload_size');
  await sql(world.postgres.superuser, `ALTER ROLE "${owner.user}" PASSWORD '${owner.password}'`);
  writeFileSync(world.synapse.configPath, before);
});
