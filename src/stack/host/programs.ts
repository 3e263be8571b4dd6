import { constants, existsSync, globSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure } from '../../failures/failure.ts';

/** Whether a program of this name can be run from the PATH. */
export async function hasProgram(name: string): Promise<boolean> {
  for (const folder of (process.env['PATH'] ?? '').split(':')) {
    if (folder === '') continue;
    const found = await access(join(folder, name), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}

/** A command that reads and writes 64 KiB at a time where `stdbuf` is: by themselves PostgreSQL's programs move 4 KiB. */
export async function inLargePieces(command: readonly [string, ...string[]]): Promise<[string, ...string[]]> {
  return (await hasProgram('stdbuf')) ? ['stdbuf', '-i64K', '-o64K', ...command] : [...command];
}

/**
 * Folder of PostgreSQL's programs of a major version, as Debian and PGDG lay them out, or the configured one.
 *
 * @param needs a program that must be there: servers have `initdb`, clients have `pg_dump`
 */
export function postgresPrograms(configured: string | undefined, major: number, needs: string): string | null {
  const folders = [
    ...(configured === undefined ? [] : [configured]),
    `/usr/lib/postgresql/${major}/bin`,
    `/usr/pgsql-${major}/bin`,
    `/usr/local/pgsql-${major}/bin`,
    // A client of a newer major reads an older server; a server does not.
    ...(needs === 'pg_dump' ? newerThan(major) : []),
  ];
  return folders.find((folder) => existsSync(join(folder, needs))) ?? null;
}

/** @throws Failure `stack.no-program` */
export function dumpProgram(configured: string | undefined, major: number): string {
  const folder = postgresPrograms(configured, major, 'pg_dump');
  if (folder === null)
    throw new Failure('stack.no-program', {
      attempted: `dump a database of PostgreSQL ${major}`,
      reason: `there is no pg_dump of version ${major} or newer`,
      hint: `\`apt-get install postgresql-client-${major}\`, or name its folder in \`stack.postgres_programs\`.`,
    });
  return join(folder, 'pg_dump');
}

function newerThan(major: number): string[] {
  const majorOf = (path: string): number => Number(path.split('/')[4]);
  return globSync('/usr/lib/postgresql/*/bin/pg_dump')
    .filter((path) => majorOf(path) > major)
    .sort((one, other) => majorOf(one) - majorOf(other))
    .map(dirname);
}
