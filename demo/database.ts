import { existsSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sql, startPostgres, type Database } from '../kit/postgres.ts';

/** The PostgreSQL behind the demo's Synapse. */
export interface DemoDatabase {
  /** As Synapse reaches it, as the owner. */
  synapse: Database;
  /** Steward's own role there, which owns nothing. */
  steward: string;
}

/** Whether a data folder has its data in PostgreSQL already. */
export const isOnPostgres = (dir: string): boolean => existsSync(join(dir, 'postgres'));

/** Starts it, with the grants that `server config` asks for. Errors: as `startPostgres`. */
export async function openDatabase(dir: string, passwordPath: string, cleanup: AsyncDisposableStack): Promise<DemoDatabase> {
  // It runs as another user than root, who must get as far as its own folder; what else lies here is 0600.
  if (process.getuid?.() === 0) await chmod(dir, 0o711);
  const postgres = await startPostgres({ dir: join(dir, 'postgres') });
  cleanup.defer(() => postgres.stop());
  const synapse = await postgres.createDatabase({ name: 'synapse' });
  const password = await postgres.createRole('steward', { createdb: true });
  await sql(postgres.superuser, 'GRANT synapse TO steward; GRANT pg_signal_backend TO steward;');
  await writeFile(passwordPath, password, { mode: 0o600 });
  return { synapse, steward: 'steward' };
}
