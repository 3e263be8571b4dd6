import { existsSync } from 'node:fs';
import { type Progress, toStderr } from './cache.ts';
import { ensureDebian, hasProgram } from './debian.ts';

/** Brings `pgbackrest` and `barman` of Debian. Errors: MissingPart. */
export async function ensureEngines(progress: Progress = toStderr): Promise<void> {
  await ensureDebian(
    ['pgbackrest', 'barman'],
    () => hasProgram('pgbackrest') && hasProgram('barman') && existsSync('/usr/bin/rsync'),
    progress,
  );
}
