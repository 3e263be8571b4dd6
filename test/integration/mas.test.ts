import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { sql, type Database } from '../../kit/postgres.ts';
import { run } from '../../kit/process.ts';
import { RestoreWorld } from './support/restore-world.ts';

/**
 * A homeserver that leaves the accounts to Matrix Authentication Service. Its program is not to be had here: its configuration is as
 * its documentation has it, and its database a real one with tables of its names.
 */

jest.setTimeout(120_000);

let world: RestoreWorld;
let mas: Database;
const password = `p@ss:w/"o'rd %41 ü`;
const configPath = (): string => join(world.dir, 'mas/config.yaml');
const secretPath = (): string => join(world.dir, 'mas/secrets/matrix');

beforeAll(async () => {
  world = await RestoreWorld.open();
  mas = { ...(await world.postgres.createDatabase({ name: 'mas', owner: 'mas-role' })), password };
  await sql(world.postgres.superuser, `ALTER ROLE "mas-role" PASSWORD '${password.replaceAll("'", "''")}'`);
  await sql(
    mas,
    `CREATE SCHEMA auth;
    CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL);
    CREATE TABLE users (user_id uuid PRIMARY KEY, username text NOT NULL UNIQUE);
    CREATE TABLE auth."User Passwords" (user_id uuid REFERENCES users, hashed_password text NOT NULL);
    INSERT INTO _sqlx_migrations VALUES (1, 'init');
    INSERT INTO users SELECT gen_random_uuid(), 'user' || n FROM generate_series(1, 500) AS n;
    INSERT INTO auth."User Passwords" SELECT user_id, '$argon2id$' || username FROM users;`,
  );
  // Read by Steward alone: Synapse goes on with the configuration that it was started with.
  const config = parse(readFileSync(world.synapse.configPath, 'utf8')) as Record<string, unknown>;
  const beside = join(world.dir, 'homeserver.d');
  mkdirSync(beside);
  writeFileSync(join(beside, 'a.yaml'), stringify(config), { mode: 0o600 });
  writeFileSync(
    join(beside, 'b.yaml'),
    stringify({ matrix_authentication_service: { enabled: true, endpoint: 'http://127.0.0.1:1/', secret: 'shared' } }),
  );
  mkdirSync(join(world.dir, 'mas/secrets'), { recursive: true });
  writeFileSync(secretPath(), 'shared', { mode: 0o600 });
  writeFileSync(join(world.dir, 'mas/secrets/encryption'), 'ab'.repeat(32), { mode: 0o600 });
  mkdirSync(join(world.dir, 'mas/keys'));
  writeFileSync(join(world.dir, 'mas/keys/rsa.pem'), 'PRIVATE', { mode: 0o600 });
  writeFileSync(join(world.dir, 'mas/tls.key'), 'TLS', { mode: 0o600 });
  const { host, port, name } = mas;
  const uri = `postgresql://mas-role:${encodeURIComponent(password)}@${host}:${port}/${name}`;
  writeFileSync(
    configPath(),
    stringify({
      http: { listeners: [{ name: 'web', tls: { certificate_file: 'tls.key', key_file: 'tls.key' } }] },
      database: { uri, ssl_ca_file: 'tls.key' },
      matrix: { homeserver: 'example.org', secret_file: 'secrets/matrix' },
      secrets: { encryption_file: 'secrets/encryption', keys_dir: 'keys' },
    }),
    { mode: 0o600 },
  );
}, 400_000);

afterAll(() => world.dispose());

function configure(more: Record<string, unknown>): void {
  world.closeCore();
  world.configure({
    stack: {
      homeserver_config: [join(world.dir, 'homeserver.d')],
      working_dir: world.synapse.dir,
      database: { user: 'steward', password_file: 'database-password' },
      components: { synapse: world.control },
      ...more,
    },
  });
}

async function backUp(): Promise<{ id: string; said: string; result: Record<string, unknown> }> {
  const reply = await world.steward('backup create');
  const said = JSON.stringify(reply.parts);
  expect({ outcome: reply.outcome, said }).toMatchObject({ outcome: 'done' });
  const result = reply.result as Record<string, unknown> & { id: string };
  return { id: result.id, said, result };
}

const opened = (id: string, name: string): string => {
  const month = new Date().toISOString().slice(0, 7);
  const key = join(world.dir, 'epoch.key');
  writeFileSync(key, spawnSync('age', ['-d', '-i', join(world.dir, 'admin.key'), join(world.disk, id, `keys/epoch-${month}.age`)]).stdout);
  const path = join(world.dir, 'opened');
  writeFileSync(path, spawnSync('age', ['-d', '-i', key, join(world.disk, id, name)], { maxBuffer: 1 << 28 }).stdout);
  return path;
};

test('whose configuration Steward is not told is said to be missing, by each that tells of the backup', async () => {
  configure({});
  const { id, said, result } = await backUp();
  expect(result).toMatchObject({ mas: 'not in it' });
  expect(said).toMatch(/With this backup alone nobody can log in.*stack\.mas_config/);
  const info = JSON.stringify((await world.steward(`backup info ${id}`)).parts);
  expect(info).toContain('all of Matrix Authentication Service, which has the accounts');
  expect(readFileSync(join(world.disk, 'RESCUE.txt'), 'utf8')).toContain('NOTHING of it is in these backups');
  const config = JSON.stringify((await world.steward('server config')).parts);
  expect(config).toMatch(/Matrix Authentication Service, which Steward is not told where to find/);
  expect(config).toContain('stack: { mas_config: [/etc/mas/config.yaml] }');
  const doctor = JSON.stringify((await world.steward('server doctor')).parts);
  expect(doctor).toMatch(/neither its configuration nor its database is in any backup/);
});

test('is backed up with its configuration and its secrets, compared, and opened by the lines of RESTORE.txt', async () => {
  configure({ mas_config: [configPath()] });
  const { id, said, result } = await backUp();
  expect(result).toMatchObject({ mas: 'in it', contentLevel: 4, absent: [] });
  expect(said).not.toContain(password);
  const list = (name: string): string => spawnSync('tar', ['-tf', opened(id, name)], { encoding: 'utf8' }).stdout;
  expect(list('config/config.tar.age')).toContain('mas/config.yaml\n');
  const secrets = list('secrets/secrets.tar.age');
  for (const name of ['secrets/matrix', 'secrets/encryption', 'keys/rsa.pem']) expect(secrets).toContain(`mas/${name}\n`);
  expect(secrets).not.toContain('tls.key');
  const proof = JSON.parse(readFileSync(join(world.disk, id, 'proof.json'), 'utf8')) as {
    content: { mas: { rows: number; tables: number } };
  };
  expect(proof.content.mas).toMatchObject({ rows: 1001, tables: 3 });
  const sheets = ['RESCUE.txt', `${id}/RESTORE.txt`, `${id}/manifest.json`, `${id}/proof.json`];
  for (const name of sheets) expect(readFileSync(join(world.disk, name), 'utf8')).not.toContain(encodeURIComponent(password));

  spawnSync('cp', [join(world.dir, 'admin.key'), join(world.disk, 'my.key')]);
  const typed = readFileSync(join(world.disk, id, 'RESTORE.txt'), 'utf8')
    .split('\n')
    .filter((line) => /^(age -d -i my\.key|createdb .*mas_restored|age .*mas_restored)/.test(line));
  expect(typed).toHaveLength(3);
  const env = {
    ...{ PGHOST: world.postgres.host, PGPORT: String(world.postgres.port) },
    ...{ PGUSER: 'postgres', PGPASSWORD: world.postgres.superuser.password },
  };
  await run(['bash', '-e', '-o', 'pipefail', '-c', `cd ${world.disk}\n${typed.join('\n')}`], { env });
  const sum = `SELECT md5(string_agg(u::text || p::text, ',' ORDER BY username)) FROM users u JOIN auth."User Passwords" p USING (user_id)`;
  const restored = { ...world.postgres.superuser, name: 'mas_restored' };
  expect(await sql(restored, sum)).toBe(await sql({ ...world.postgres.superuser, name: 'mas' }, sum));
  expect((await sql(restored, `SELECT tableowner FROM pg_tables WHERE tablename = 'users'`)).trim()).toBe('mas-role');
  await sql(world.postgres.superuser, 'DROP DATABASE mas_restored');
  rmSync(join(world.disk, 'my.key'));
});

test('is loaded and compared again where it is stored, and a restore says that it stays as it is', async () => {
  const verified = await world.steward('backup verify latest --level 4');
  expect({ outcome: verified.outcome, said: JSON.stringify(verified.parts) }).toMatchObject({ outcome: 'done' });
  expect(verified.result).toMatchObject({ destinations: [{ objectLevel: 4, missing: null }] });
  const prepared = await world.steward('restore prepare latest --yes');
  expect({ outcome: prepared.outcome, said: JSON.stringify(prepared.parts) }).toMatchObject({ outcome: 'done' });
  expect(JSON.stringify(prepared.parts)).toMatch(/the database of Matrix Authentication Service stays as it is.*RESTORE\.txt/);
  expect(await world.steward('restore finish latest --yes')).toMatchObject({ outcome: 'done' });
});

test('whose database does not answer leaves no backup, and is told without its password', async () => {
  const before = await world.steward('backup list');
  await sql(world.postgres.superuser, `ALTER ROLE "mas-role" NOLOGIN`);
  try {
    // Seen before the homeserver is dumped, by a program that tells that it was started.
    const programs = join(world.dir, 'programs');
    mkdirSync(programs);
    writeFileSync(join(programs, 'pg_dump'), `#!/bin/sh\ntouch ${programs}/started\nexit 1\n`, { mode: 0o700 });
    configure({ mas_config: [configPath()], postgres_programs: programs });
    const reply = await world.steward('backup create');
    const said = JSON.stringify(reply.parts);
    expect(reply.outcome).toBe('unreachable');
    expect(existsSync(join(programs, 'started'))).toBe(false);
    expect(said).toMatch(/database mas on 127\.0\.0\.1.*as mas-role.*stack\.database-unreachable/);
    expect(said).not.toContain(password);
    expect(JSON.stringify((await world.steward('server config')).parts)).toMatch(
      /the database of Matrix Authentication Service cannot be reached/,
    );
  } finally {
    await sql(world.postgres.superuser, `ALTER ROLE "mas-role" LOGIN`);
    configure({ mas_config: [configPath()] });
  }
  expect((await world.steward('backup list')).result).toEqual(before.result);
});

test('whose keys and password are lost: the rest is backed up, and they come back, and go again, by a restore', async () => {
  const [keys, key] = [join(world.dir, 'mas/keys'), join(world.dir, 'mas/keys/rsa.pem')];
  const passwordPath = join(world.dir, 'mas/password');
  const besidePath = join(world.dir, 'mas/password.yaml');
  writeFileSync(besidePath, stringify({ database: { password_file: 'password' } }));
  writeFileSync(passwordPath, `${password}\n`, { mode: 0o600 });
  chownSync(key, process.getuid?.() === 0 ? 65534 : -1, -1);
  const owner = statSync(key).uid;
  configure({ mas_config: [configPath(), besidePath] });
  const { id } = await backUp();
  rmSync(keys, { recursive: true });
  expect((await backUp()).result).toMatchObject({ mas: 'in it', absent: [keys] });
  rmSync(passwordPath);
  expect(await world.steward('backup create')).toMatchObject({ outcome: expect.not.stringMatching('done') as unknown });
  expect(JSON.stringify((await world.steward('server config')).parts)).toContain(
    'the database of Matrix Authentication Service cannot be reached',
  );

  expect(await world.steward(`restore prepare ${id} --only secrets --yes`)).toMatchObject({ outcome: 'done' });
  const cutover = await world.steward('restore cutover latest');
  expect({ outcome: cutover.outcome, said: JSON.stringify(cutover.parts) }).toMatchObject({ outcome: 'done' });
  expect(readFileSync(key, 'utf8')).toBe('PRIVATE');
  expect(readFileSync(passwordPath, 'utf8')).toBe(`${password}\n`);
  expect([statSync(key).uid, statSync(keys).uid]).toEqual([owner, owner]);
  expect(await world.steward('restore undo latest --yes')).toMatchObject({ outcome: 'done' });
  expect([existsSync(key), existsSync(passwordPath)]).toEqual([false, false]);
  expect(await world.steward('restore finish latest --yes')).toMatchObject({ outcome: 'done' });
  configure({ mas_config: [configPath()] });
  writeFileSync(key, 'PRIVATE', { mode: 0o600 });
});

test('whose certificates are written in the configuration is refused by name, where it is to be reached', async () => {
  const besidePath = join(world.dir, 'mas/inline.yaml');
  writeFileSync(besidePath, stringify({ database: { ssl_ca: 'PEM' } }));
  configure({ mas_config: [configPath(), besidePath] });
  const reply = await world.steward('backup create');
  expect(reply.outcome).not.toBe('done');
  for (const { parts } of [reply, await world.steward('server config')])
    expect(JSON.stringify(parts)).toMatch(/`?database\.ssl_ca`? is written in it; name a file by `?ssl_ca_file/);
  configure({ mas_config: [configPath()] });
});

const homeserverPath = (): string => join(world.dir, 'homeserver.d/b.yaml');

test('a secret that Steward cannot read is not asked for where nothing is lost', async () => {
  const before = readFileSync(homeserverPath());
  const service = { enabled: true, endpoint: 'http://127.0.0.1:1/', secret_path: join(world.dir, 'absent') };
  writeFileSync(homeserverPath(), stringify({ matrix_authentication_service: service }));
  expect(await world.steward('restore prepare latest --only secrets --yes')).toMatchObject({ outcome: 'done' });
  expect(await world.steward('restore cutover latest')).toMatchObject({ outcome: 'done', result: { attached: [], delegated: true } });
  expect(await world.steward('restore undo latest --yes')).toMatchObject({ outcome: 'done', result: { attached: [] } });
  expect(await world.steward('restore finish latest --yes')).toMatchObject({ outcome: 'done' });
  writeFileSync(homeserverPath(), before);
});

test('to which homeserver.yaml leaves no accounts is backed up, and not said to have them', async () => {
  const before = readFileSync(homeserverPath());
  writeFileSync(homeserverPath(), '');
  const { id, result } = await backUp();
  expect(result).toMatchObject({ mas: 'in it' });
  const rescue = readFileSync(join(world.disk, 'RESCUE.txt'), 'utf8');
  expect(rescue).toMatch(/Matrix Authentication Service: its database is PostgreSQL, mas at/);
  expect(rescue).not.toContain('which has the accounts');
  expect(JSON.stringify((await world.steward('server config')).parts)).toContain("the homeserver's own; backed up too is Matrix Auth");
  expect(existsSync(join(world.disk, id, 'database/mas.dump.zst.age'))).toBe(true);
  configure({});
  expect((await backUp()).result).toMatchObject({ mas: 'none' });
  writeFileSync(homeserverPath(), before);
  configure({ mas_config: [configPath()] });
});

test('a file that the configuration names and that is not there is told, and the rest is backed up', async () => {
  rmSync(secretPath());
  const { said, result } = await backUp();
  expect(result).toMatchObject({ absent: [secretPath()] });
  expect(said).toContain(secretPath());
  expect(existsSync(secretPath())).toBe(false);
  expect(JSON.stringify((await world.steward('backup info latest')).parts)).toContain(secretPath());
});
