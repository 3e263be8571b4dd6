import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { chownSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { sql } from '../../kit/postgres.ts';
import { run } from '../../kit/process.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** A real PostgreSQL that lets nobody in without TLS, as those of others often are. */

jest.setTimeout(120_000);

let world: RestoreWorld;
const ca = (): string => join(world.dir, 'ca.crt');

beforeAll(async () => {
  world = await RestoreWorld.open();
  await world.stop();
  const data = join(world.postgres.dir, 'data');
  const at = (name: string): string => join(world.dir, name);
  const openssl = (...words: string[]): Promise<string> => run(['openssl', ...words]);
  const key = (name: string): string[] => ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at(name)];
  await openssl('req', '-x509', ...key('ca.key'), '-out', ca(), '-subj', '/CN=test CA', '-days', '2');
  await openssl('req', '-new', ...key('server.key'), '-out', at('server.csr'), '-subj', '/CN=database');
  writeFileSync(at('names'), 'subjectAltName=IP:127.0.0.1');
  const signed = ['-CA', ca(), '-CAkey', at('ca.key'), '-CAcreateserial', '-extfile', at('names'), '-days', '2'];
  await openssl('x509', '-req', '-in', at('server.csr'), ...signed, '-out', at('server.crt'));
  const { uid, gid } = statSync(data);
  for (const name of ['server.crt', 'server.key']) {
    writeFileSync(join(data, name), readFileSync(at(name)), { mode: 0o600 });
    chownSync(join(data, name), uid, gid);
  }
  const rules = join(data, 'pg_hba.conf');
  writeFileSync(rules, readFileSync(rules, 'utf8').replaceAll(/^host\s/gm, 'hostssl '));
  await sql(world.postgres.superuser, 'ALTER SYSTEM SET ssl = on');
  await world.postgres.restart();
}, 400_000);

afterAll(() => world.dispose());

async function connectBy(args: Record<string, string>): Promise<void> {
  await world.stop();
  world.closeCore();
  const config = parse(readFileSync(world.synapse.configPath, 'utf8')) as { database: { args: Record<string, unknown> } };
  const { host, port, user, password, dbname } = config.database.args;
  config.database.args = { host, port, user, password, dbname, cp_min: 1, cp_max: 5, ...args };
  writeFileSync(world.synapse.configPath, stringify(config));
  await world.start();
}

const encrypted = (): Promise<string> =>
  sql(world.postgres.superuser, 'SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_port > 0 AND NOT ssl');

test('is backed up and restored, with its certificate looked at', async () => {
  await connectBy({ sslmode: 'verify-full', sslrootcert: ca() });
  const made = await world.steward('backup create');
  expect({ outcome: made.outcome, said: JSON.stringify(made.parts) }).toMatchObject({ outcome: 'done' });
  expect(made.result).toMatchObject({ contentLevel: 4 });
  await world.synapse.register({ localpart: 'later' });
  expect(await world.steward('restore prepare latest --yes')).toMatchObject({ outcome: 'done' });
  const cutover = await world.steward('restore cutover latest');
  expect({ outcome: cutover.outcome, said: JSON.stringify(cutover.parts) }).toMatchObject({ outcome: 'done' });
  expect(await sql({ ...world.postgres.superuser, name: 'synapse' }, `SELECT name FROM users WHERE name LIKE '@later:%'`)).toBe('');
  expect((await encrypted()).trim()).toBe('0');
  expect(await world.steward('restore finish latest --yes')).toMatchObject({ outcome: 'done' });
});

test('is reached where nothing is said of TLS, as libpq does', async () => {
  await connectBy({});
  const config = await world.steward('server config');
  expect(JSON.stringify(config.parts)).toMatch(/version 1\d/);
  expect(JSON.stringify(config.parts)).not.toMatch(/cannot be reached/);
});

test('a certificate that another authority has signed is told as the reason', async () => {
  const other = join(world.dir, 'other.crt');
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null'];
  await run(['openssl', 'req', '-x509', ...key, '-out', other, '-subj', '/CN=other CA', '-days', '2']);
  world.closeCore();
  const config = parse(readFileSync(world.synapse.configPath, 'utf8')) as { database: { args: Record<string, unknown> } };
  Object.assign(config.database.args, { sslmode: 'verify-ca', sslrootcert: other });
  writeFileSync(world.synapse.configPath, stringify(config));
  const reply = await world.steward('backup create');
  expect(reply.errorId).toBe('stack.database-unreachable');
  expect(JSON.stringify(reply.parts)).toMatch(/unable to verify the first certificate|self-signed certificate/);
});

test('a server that has TLS and lets nobody in by it is reached without, where nothing is said', async () => {
  const rules = join(world.postgres.dir, 'data/pg_hba.conf');
  writeFileSync(rules, readFileSync(rules, 'utf8').replaceAll(/^hostssl\s/gm, 'hostnossl '));
  await sql(world.postgres.superuser, 'SELECT pg_reload_conf()');
  await connectBy({});
  const config = await world.steward('server config');
  expect(JSON.stringify(config.parts)).toMatch(/version 1\d/);
  expect(JSON.stringify(config.parts)).not.toMatch(/cannot be reached/);
});
