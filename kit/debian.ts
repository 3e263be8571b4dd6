import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Progress, withLock } from './cache.ts';
import { run } from './process.ts';

/** A real part that this machine lacks; the message is the one line to type. */
export class MissingPart extends Error {}

/** Whether a program of this name is on the PATH, or among the programs for administrators. */
export function hasProgram(name: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => existsSync(join(folder, name)));
}

/**
 * Installs Debian packages as root unless `there()`; `env` is set for their install scripts.
 * Errors: MissingPart when this user is not root, Debian's tools are absent, or the packages did not bring it.
 */
export async function ensureDebian(
  packages: string[],
  there: () => boolean | Promise<boolean>,
  progress: Progress,
  env: Record<string, string> = {},
): Promise<void> {
  if (await there()) return;
  const line = `apt-get install -y ${packages.join(' ')}`;
  if (process.getuid?.() !== 0 || !hasProgram('apt-get')) throw new MissingPart(`sudo ${line}`);
  await withLock('apt', async () => {
    if (await there()) return;
    progress(`installing ${packages.join(', ')} from Debian`);
    const install = () =>
      run(['apt-get', 'install', '-y', '-q', '--no-install-recommends', ...packages], {
        env: { DEBIAN_FRONTEND: 'noninteractive', ...env },
      });
    await install().catch(async () => {
      await run(['apt-get', 'update', '-q']); // package lists that are missing or old
      await install();
    });
    if (!(await there())) throw new MissingPart(line);
  });
}
