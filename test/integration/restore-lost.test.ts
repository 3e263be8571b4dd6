import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { sql } from '../../kit/postgres.ts';
import type { ShellReply } from './support/core-shell.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** The database of the homeserver is dropped, by mistake or in an attempt to mend it. */

jest.setTimeout(120_000);

let world: RestoreWorld;
let before: string;

beforeAll(async () => {
  world = await RestoreWorld.open();
  before = await world.settledOracle();
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  await world.stop();
  await sql(world.postgres.superuser, 'DROP DATABASE synapse WITH (FORCE)');
}, 120_000);

afterAll(() => world.dispose());

const told = ({ outcome, errorId, parts }: ShellReply) => ({ outcome, errorId, said: JSON.stringify(parts) });

test('a cutover that fails leaves the restore prepared, and nothing half-way', async () => {
  expect(told(await world.steward('restore prepare latest --yes'))).toMatchObject({ outcome: 'done' });
  world.configure({ stack: { ...stackOf(world), components: { synapse: { ...world.control, start: ['false'] } } } });
  world.closeCore();

  expect(told(await world.steward('restore cutover latest'))).toMatchObject({ errorId: 'restore.rolled-back' });

  expect(await world.databases()).toEqual([expect.stringContaining('synapse_restore_')]);
  expect(told(await world.steward('restore list')).said).toContain('prepared');
});

test('it is restored, and there is nothing to go back to', async () => {
  world.configure();
  world.closeCore();

  const cutover = told(await world.steward('restore cutover latest'));

  expect(cutover).toMatchObject({ outcome: 'done', said: expect.stringContaining('No database was live before') });
  expect(cutover.said).not.toContain('restore undo');
  expect(await world.settledOracle()).toBe(before);
  expect(told(await world.steward('restore undo latest --yes'))).toMatchObject({ errorId: 'restore.state' });
  expect(await world.answers()).toBe(true);
  expect(told(await world.steward('restore finish latest'))).toMatchObject({ outcome: 'done' });
  expect(await world.databases()).toEqual(['synapse']);
});

const stackOf = ({ synapse }: RestoreWorld) => ({
  homeserver_config: [synapse.configPath],
  database: { user: 'steward', password_file: 'database-password' },
});
