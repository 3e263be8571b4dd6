import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { appendFileSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, startChild, type Child } from '../../kit/process.ts';
import { sql } from '../../kit/postgres.ts';
import type { Manifest } from '../../src/backup/manifest.ts';
import { RestoreWorld } from './support/restore-world.ts';
import { until } from './support/until.ts';

/** A real PostgreSQL that a real pgBackRest, and a real Barman, guard. */

jest.setTimeout(300_000);

let world: RestoreWorld;
/** Everything of the engines; the server's user owns it. */
let home: string;
let receiving: Child | null = null;

/** As whom the server runs: engines read its files. */
const owner = (): { uid: number; gid: number } => statSync(join(world.postgres.dir, 'data'));
const asOwner = (...command: string[]): [string, ...string[]] => {
  const { uid, gid } = owner();
  const as = process.getuid?.() === 0 ? ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'] : [];
  return ['env', '-C', '/', `PGPASSFILE=${join(home, 'pgpass')}`, ...as, ...command];
};
const pgbackrest = (): [string, ...string[]] => asOwner('pgbackrest', `--config=${join(home, 'pgbackrest.conf')}`);
const barman = (): [string, ...string[]] => asOwner('barman', '-c', join(home, 'barman.conf'));

function put(name: string, text: string): void {
  writeFileSync(join(home, name), text, { mode: 0o600 });
  chownSync(join(home, name), owner().uid, owner().gid);
}

beforeAll(async () => {
  world = await RestoreWorld.open();
  home = join(world.postgres.dir, 'engines');
  for (const folder of ['', 'repo', 'log', 'lock', 'spool', 'barman', 'barman.d']) {
    mkdirSync(join(home, folder), { recursive: true });
    chownSync(join(home, folder), owner().uid, owner().gid);
  }
  const { port, dir, socketDir, superuser } = world.postgres;
  put('pgpass', `*:*:*:*:${superuser.password}\n`);
  put(
    'pgbackrest.conf',
    [
      '[global]',
      ...['repo', 'log', 'lock', 'spool'].map((name) => `${name === 'repo' ? 'repo1' : name}-path=${join(home, name)}`),
      ...['start-fast=y', 'repo1-retention-full=3', '[main]', `pg1-path=${join(dir, 'data')}`, `pg1-port=${port}`],
      ...[`pg1-socket-path=${socketDir}`, 'pg1-user=postgres', ''],
    ].join('\n'),
  );
  await world.stop();
  appendFileSync(
    join(dir, 'data/postgresql.conf'),
    `archive_mode = on\narchive_command = 'pgbackrest --config=${join(home, 'pgbackrest.conf')} --stanza=main archive-push %p'\n`,
  );
  await world.postgres.restart();
  await world.start();
  await run([...pgbackrest(), '--stanza=main', 'stanza-create']);
}, 300_000);

afterAll(async () => {
  await receiving?.stop();
  await world.dispose();
});

function guardedBy(engine: string, command: readonly string[], more: Record<string, unknown> = {}): void {
  world.closeCore();
  world.configure({
    backup: {
      destinations: { disk: { directory: world.disk } },
      database: { engine, server: 'main', command, ...more },
      keys: { recipients: [world.recipient('admin')], identity_file: 'own.key' },
    },
  });
}

const said = async (line: string): Promise<string> => JSON.stringify((await world.steward(line)).parts);
const folders = (): string[] => readdirSync(world.disk).filter((name) => /^\d/.test(name));
const manifestOf = (id: string): Manifest => JSON.parse(readFileSync(join(world.disk, id, 'manifest.json'), 'utf8')) as Manifest;
const labels = async (): Promise<string[]> => {
  const info = JSON.parse(await run([...pgbackrest(), '--stanza=main', '--output=json', 'info'])) as {
    backup: { label: string }[];
  }[];
  return (info[0]?.backup ?? []).map(({ label }) => label);
};

test('pgBackRest makes the copy, and Steward the rest, the watch and the report', async () => {
  guardedBy('pgbackrest', pgbackrest());
  expect(await said('server doctor')).toMatch(/pgBackRest has no backup of main/);
  const reply = await world.steward('backup create');
  expect({ outcome: reply.outcome, said: JSON.stringify(reply.parts) }).toMatchObject({ outcome: 'done' });
  const { id } = reply.result as { id: string };
  const [label = ''] = await labels();
  expect(label).toMatch(/^\d{8}-\d{6}F$/);
  expect(reply.result).toMatchObject({
    contentLevel: 1,
    contentMissing: expect.stringContaining(`held by pgBackRest, as ${label} of main`),
  });
  expect(manifestOf(id).server.database).toMatchObject({ kind: 'engine', engine: { name: 'pgBackRest', server: 'main', label } });
  expect(manifestOf(id).objects.map(({ role }) => role)).toEqual(expect.arrayContaining(['signing-key', 'config', 'steward']));
  expect(readdirSync(join(world.disk, id, 'database'))).toEqual(['engine.json.age']);
  const line = [...pgbackrest(), '--stanza=main', `--set=${label}`, '--delta', 'restore'].join(' ');
  expect(readFileSync(join(world.disk, id, 'RESTORE.txt'), 'utf8')).toContain(line);
  expect(await said('backup info latest')).toContain(`held by pgBackRest as ${label} of main`);
  expect(await said('backup list')).toMatch(/The database is held by pgBackRest/);
  expect(await said('server doctor')).toMatch(new RegExp(`${label}, the newest of pgBackRest for main, is \\d`));
  expect(await world.steward('backup verify latest --level 2')).toMatchObject({ outcome: 'done' });
});

test('what that engine holds is tried by nobody here, and a check says so', async () => {
  for (const level of [3, 4])
    expect(await world.steward(`backup verify latest --level ${level}`)).toMatchObject({
      outcome: 'done',
      result: { destinations: [{ objectLevel: 2, missing: expect.stringContaining('held by another engine') }] },
    });
  const drill = await world.steward('backup drill latest');
  expect(drill).toMatchObject({ outcome: 'failed', errorId: 'stack.scratch-failed' });
  expect(JSON.stringify(drill.parts)).toContain('Restore it with that engine elsewhere');
  expect(await world.databases()).toEqual(['synapse']);
});

test('Steward refuses to put that database back, and says the line that does', async () => {
  const reply = await world.steward('restore prepare latest --yes');
  expect(reply).toMatchObject({ outcome: 'refused', errorId: 'restore.refused' });
  const [label = ''] = await labels();
  const line = [...pgbackrest(), '--stanza=main', `--set=${label}`, '--delta', 'restore'].join(' ');
  expect(JSON.stringify(reply.parts)).toContain(line);
  expect(await world.databases()).toEqual(['synapse']);
  expect(await world.steward('restore prepare latest --yes --only media,keys,config,secrets')).toMatchObject({ outcome: 'done' });
  expect(await world.steward('restore finish latest')).toMatchObject({ outcome: 'done' });
  // That line is typed, as an admin would.
  await world.stop();
  await sql({ ...world.postgres.superuser, name: 'synapse' }, 'CREATE TABLE since ()');
  await world.postgres.stop();
  await run(['sh', '-c', line]);
  await world.postgres.start();
  await until(async () => (await sql(world.postgres.superuser, 'SELECT pg_is_in_recovery()')).trim() === 'f', 60_000, 'it is recovered');
  await world.start();
  expect(await world.answers()).toBe(true);
});

test('an engine that fails, lies or is late leaves no backup, and is told', async () => {
  const before = folders();
  const faults: [string, string[], RegExp][] = [
    ['it fails', ['false'], /exit code 1/],
    ['it is not there', ['/no/such/pgbackrest'], /is not there/],
    ['it says nothing', ['true'], /no JSON/],
    // Its answer to everything is what there was before.
    ['it makes none', ['sh', '-c', `cat ${join(home, 'info.json')}`], /lists none that is new/],
  ];
  writeFileSync(join(home, 'info.json'), await run([...pgbackrest(), '--stanza=main', '--output=json', 'info']));
  for (const [what, command, reason] of faults) {
    guardedBy('pgbackrest', command);
    const reply = await world.steward('backup create');
    expect({ what, outcome: reply.outcome, errorId: reply.errorId }).toEqual({ what, outcome: 'failed', errorId: 'backup.engine-failed' });
    expect(JSON.stringify(reply.parts)).toMatch(reason);
    expect(folders()).toEqual(before);
  }
  guardedBy('pgbackrest', pgbackrest(), { fresh: '1s' });
  expect(await said('server doctor')).toMatch(/the newest of pgBackRest for main, is/);
  expect((await world.steward('server doctor')).outcome).toBe('failed');

  // The next one that is made ends the alert: its database is not Steward's to prove.
  const standing = async (): Promise<string[]> => (await world.core()).alerts.standing().map(({ id }) => id);
  expect(await standing()).toContain('backup.failed');
  guardedBy('pgbackrest', pgbackrest());
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done', result: { contentLevel: 1 } });
  expect(await standing()).not.toContain('backup.failed');
});

test('Barman does the same', async () => {
  const { port, socketDir } = world.postgres;
  const at = `host=${socketDir} port=${port} user=postgres dbname=postgres`;
  put(
    'barman.conf',
    [
      ...['[barman]', 'barman_user = postgres', `barman_home = ${join(home, 'barman')}`, `log_file = ${join(home, 'barman.log')}`],
      ...[`configuration_files_directory = ${join(home, 'barman.d')}`, '[main]', 'description = main', `conninfo = ${at}`],
      ...[`streaming_conninfo = ${at}`, 'backup_method = postgres', 'streaming_archiver = on', 'slot_name = barman'],
      ...[`path_prefix = ${world.postgres.programs}`, ''],
    ].join('\n'),
  );
  await run([...barman(), 'receive-wal', '--create-slot', 'main']);
  receiving = await startChild({
    command: [...barman(), 'receive-wal', 'main'],
    logPath: join(world.dir, 'receive.log'),
  });
  const streams = "SELECT state FROM pg_stat_replication WHERE application_name = 'barman_receive_wal'";
  await until(async () => (await sql(world.postgres.superuser, streams)).trim() === 'streaming', 30_000, 'Barman receives');
  await run([...barman(), 'switch-wal', '--force', '--archive', 'main']);
  guardedBy('barman', barman());
  expect(await said('server doctor')).toMatch(/Barman has no backup of main/);
  const reply = await world.steward('backup create');
  expect({ outcome: reply.outcome, said: JSON.stringify(reply.parts) }).toMatchObject({ outcome: 'done' });
  const listed = JSON.parse(await run([...barman(), '-f', 'json', 'list-backups', 'main'])) as {
    main: { backup_id: string }[];
  };
  const label = listed.main[0]?.backup_id ?? '';
  expect(label).toMatch(/^\d{8}T\d{6}$/);
  expect(manifestOf((reply.result as { id: string }).id).server.database.engine).toMatchObject({ name: 'Barman', label });
  expect(await said('server doctor')).toMatch(new RegExp(`${label}, the newest of Barman for main, is \\d`));
  expect(await said('restore prepare latest --yes')).toContain(`recover main ${label}`);
});
