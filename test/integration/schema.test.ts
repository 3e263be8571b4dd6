import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { sql, type Database } from '../../kit/postgres.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** A real Synapse whose tables are in a schema of their own. */

jest.setTimeout(120_000);

let world: RestoreWorld;
let inSynapse: Database;

beforeAll(async () => {
  world = await RestoreWorld.open();
  await world.stop();
  inSynapse = { ...world.postgres.superuser, name: 'synapse' };
  await sql(
    inSynapse,
    'ALTER SCHEMA public RENAME TO syn; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO synapse; REVOKE ALL ON SCHEMA syn FROM PUBLIC',
  );
}, 400_000);

afterAll(() => world.dispose());

const users = async (): Promise<number> => Number(await sql(inSynapse, 'SELECT count(*) FROM syn.users'));

/** What the last backup's proof says that it holds. */
function held(id: string): { level: number; rows: Record<string, number>; sequences: Record<string, string> } {
  const { content } = JSON.parse(readFileSync(join(world.disk, id, 'proof.json'), 'utf8')) as {
    content: { level: number; held: { rows: Record<string, number>; sequences: Record<string, string> } };
  };
  return { level: content.level, ...content.held };
}

async function backUp(): Promise<string> {
  const reply = await world.steward('backup create');
  expect({ outcome: reply.outcome, said: JSON.stringify(reply.parts) }).toMatchObject({ outcome: 'done' });
  return (reply.result as { id: string }).id;
}

async function expectWhole(id: string): Promise<void> {
  const { level, rows, sequences } = held(id);
  expect(level).toBe(4);
  expect(rows['users']).toBe(await users());
  expect(Object.keys(rows).length).toBe(Number(await sql(inSynapse, `SELECT count(*) FROM pg_tables WHERE schemaname = 'syn'`)));
  expect(sequences).toHaveProperty('events_stream_seq');
}

describe('that the database looks into', () => {
  beforeAll(async () => {
    await sql(inSynapse, 'ALTER DATABASE synapse SET search_path = syn, public');
    await sql(inSynapse, `ALTER ROLE synapse IN DATABASE synapse SET statement_timeout = '9min'`);
    // Which a superuser alone may.
    await sql(
      inSynapse,
      'ALTER DATABASE synapse SET log_min_duration_statement = 60000; ALTER ROLE synapse IN DATABASE synapse SET log_statement = ddl',
    );
    await world.start();
  }, 60_000);

  test('is backed up, compared, and comes back with what makes Synapse find it', async () => {
    const id = await backUp();
    await expectWhole(id);
    const before = await users();
    await world.synapse.register({ localpart: 'later' });
    const prepared = await world.steward(`restore prepare ${id} --yes`);
    expect({ outcome: prepared.outcome, said: JSON.stringify(prepared.parts) }).toMatchObject({ outcome: 'done' });
    const said = /(\w+), (\w+) of the live database Steward may not set/.exec(JSON.stringify(prepared.parts))?.slice(1);
    expect(said?.sort()).toEqual(['log_min_duration_statement', 'log_statement']);
    const restore = (prepared.result as { id: string }).id;
    const cutover = await world.steward(`restore cutover ${restore}`);
    expect({ outcome: cutover.outcome, said: JSON.stringify(cutover.parts) }).toMatchObject({ outcome: 'done' });
    // The probe user's name stays.
    expect(await sql(inSynapse, `SELECT name FROM syn.users WHERE name LIKE '@later:%'`)).toBe('');
    expect(await users()).toBe(before + 1);
    expect((await sql(inSynapse, 'SHOW search_path')).trim()).toBe('syn, public');
    const own = `SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
      WHERE setrole = 'synapse'::regrole AND datname = 'synapse'`;
    expect((await sql(inSynapse, own)).trim()).toBe('statement_timeout=9min');
    expect(await sql(inSynapse, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`)).toBe('');
    expect(await world.answers()).toBe(true);
    expect(await world.steward(`restore finish ${restore} --yes`)).toMatchObject({ outcome: 'done' });
  });
});

describe('that only the homeserver’s own connections look into', () => {
  beforeAll(async () => {
    await world.stop();
    await sql(inSynapse, 'ALTER DATABASE synapse RESET search_path');
    const config = parse(readFileSync(world.synapse.configPath, 'utf8')) as { database: { args: Record<string, unknown> } };
    config.database.args['options'] = '-c search_path=syn -c statement_timeout=1';
    writeFileSync(world.synapse.configPath, stringify(config));
  });

  test('is backed up and compared, and a limit that is for Synapse’s queries does not end Steward’s', async () => {
    await expectWhole(await backUp());
  });

  test('is found by the role of the tables where nothing names it', async () => {
    const config = parse(readFileSync(world.synapse.configPath, 'utf8')) as { database: { args: Record<string, unknown> } };
    delete config.database.args['options'];
    writeFileSync(world.synapse.configPath, stringify(config));
    await expectWhole(await backUp());
  });

  test('is told as what it is where the role sees none of it, with the GRANT', async () => {
    await sql(inSynapse, 'REVOKE synapse FROM steward');
    try {
      const config = await world.steward('server config');
      const said = JSON.stringify(config.parts);
      expect(said).toContain('GRANT pg_read_all_data TO steward;');
      expect(said).not.toContain('internal.bug');
      const reply = await world.steward('backup create');
      expect(reply.outcome).toBe('failed');
      expect(JSON.stringify(reply.parts)).toMatch(/stack\.no-schema/);
    } finally {
      await sql(inSynapse, 'GRANT synapse TO steward');
    }
  });
});
