import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { sql } from '../../../kit/postgres.ts';
import type { RestoreWorld } from './restore-world.ts';

const root = resolve(import.meta.dirname, '../../..');

/** The machine is lost: of its folder nothing stays but what is named, of its databases nothing. */
export async function loseMachine(world: RestoreWorld, stays: readonly string[] = []): Promise<void> {
  world.closeCore();
  await world.stop();
  for (const name of readdirSync(world.dir)) if (!stays.includes(name)) rmSync(join(world.dir, name), { recursive: true });
  for (const database of await world.databases()) await sql(world.postgres.superuser, `DROP DATABASE "${database}" WITH (FORCE)`);
}

/** The lines of a rescue sheet that are typed on a bare machine, up to the one that makes a new device. */
export function typedOf(sheet: string): string[] {
  return sheet
    .slice(sheet.indexOf('WHAT TO TYPE'))
    .split('\n')
    .filter(
      (line) => /^(umask|for|ID=|age|psql|createdb|steward|rm) /.test(line.replace('ID=', 'ID= ')) && !/^steward (?:run|crypto)/.test(line),
    );
}

/** Types the sheet in a folder. @param bin an empty folder for the program `steward` @returns what failed, empty when nothing did */
export function typeSheet(world: RestoreWorld, { folder, key, bin, sheet }: Record<'folder' | 'key' | 'bin' | 'sheet', string>): string {
  mkdirSync(bin);
  writeFileSync(
    join(bin, 'steward'),
    `#!/bin/sh\nexec "${process.execPath}" --disable-warning=ExperimentalWarning "${root}/src/main.ts" "$@"\n`,
  );
  chmodSync(join(bin, 'steward'), 0o755);
  const script = [
    'set -e -o pipefail',
    `cd ${folder}`,
    `cp ${key} my.key`,
    ...typedOf(sheet).map((line) => (line.includes('doctor') ? `${line} || true` : line)),
    'rm my.key',
  ].join('\n');
  const { host, port, superuser } = world.postgres;
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    ...{ PGHOST: host, PGPORT: String(port), PGUSER: 'postgres', PGPASSWORD: superuser.password },
  };
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script], { env, encoding: 'utf8' });
  return status === 0 ? '' : `exit code ${status ?? 'none'}\n${stdout}\n${stderr}`;
}
