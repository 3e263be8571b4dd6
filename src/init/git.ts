import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Failure } from '../failures/failure.ts';

/** Throws `init.secrets-in-git` when one of these paths (which need not exist) lies in a git work tree that does not ignore it. */
export async function refuseUnignored(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    if (await isExposed(path)) {
      throw new Failure('init.secrets-in-git', {
        attempted: `write secrets to ${path}`,
        reason: 'the folder is in a git work tree that does not ignore it',
      });
    }
  }
}

async function isExposed(path: string): Promise<boolean> {
  const folder = nearestFolder(dirname(path));
  const status = await gitStatus(folder, path);
  // Without an answer of git, a work tree above is enough to refuse.
  return status === null ? isBelowGit(folder) : status === 'exposed';
}

/** What git says of the path; null when git is missing or will not say. */
async function gitStatus(folder: string, path: string): Promise<'exposed' | 'ignored' | 'outside' | null> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_')));
  const git = (...args: string[]): Promise<number | null> =>
    promisify(execFile)('git', ['-C', folder, ...args], { env }).then(
      () => 0,
      (error: unknown) => {
        const { code } = error as { code?: unknown };
        return typeof code === 'number' ? code : null;
      },
    );
  const inside = await git('rev-parse', '--is-inside-work-tree');
  if (inside === null) return null;
  if (inside !== 0) return isBelowGit(folder) ? null : 'outside';
  const ignored = await git('check-ignore', '--quiet', path);
  return ignored === 0 ? 'ignored' : ignored === 1 ? 'exposed' : null;
}

function nearestFolder(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestFolder(dirname(path));
}

function isBelowGit(folder: string): boolean {
  return existsSync(join(folder, '.git')) || (dirname(folder) !== folder && isBelowGit(dirname(folder)));
}
