import { sql } from '../kit/postgres.ts';
import type { World } from './world.ts';

/** Accounts that a listing shows; beside them 2 % are deactivated. */
export const users = 100_000;

/** Users with a profile, a device and an address each, straight into the database; does nothing when they are there. */
export async function seedUsers({ database, synapse }: World): Promise<void> {
  if ((await sql(database, `SELECT 1 FROM users WHERE name = '@user000001:${synapse.serverName}'`)) !== '') return;
  await sql(
    database,
    `BEGIN;
    CREATE TEMPORARY TABLE seed AS
      SELECT n, 'user' || lpad(n::text, 6, '0') AS localpart, '@user' || lpad(n::text, 6, '0') || ':${synapse.serverName}' AS id, 1700000000::bigint + n AS born
      FROM generate_series(1, ${users + users / 50}) AS n;
    INSERT INTO users (name, creation_ts, deactivated, approved) SELECT id, born, CASE WHEN n > ${users} THEN 1 ELSE 0 END, true FROM seed;
    INSERT INTO profiles (user_id, displayname, full_user_id) SELECT localpart, 'User Number ' || n, id FROM seed;
    INSERT INTO devices (user_id, device_id, display_name, hidden) SELECT id, 'DEVICE' || n, 'Element', false FROM seed;
    INSERT INTO user_ips (user_id, access_token, device_id, ip, user_agent, last_seen) SELECT id, 'token' || n, 'DEVICE' || n, '127.0.0.1', 'Element', (born + 1000) * 1000 FROM seed;
    COMMIT;
    ANALYZE;`,
  );
}
