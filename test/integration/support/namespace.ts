import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const unshare = process.getuid?.() === 0 ? ['unshare', '--mount'] : ['unshare', '--user', '--map-root-user', '--mount'];

/** Whether this machine lets a program have mounts of its own. */
export const canMount =
  existsSync('/proc/self/ns/mnt') &&
  spawnSync(unshare[0] ?? '', [...unshare.slice(1), 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;

/** Words before a command, so that `script` runs first, in a mount namespace that ends with the command. */
export function withMounts(script: string): string[] {
  return [...unshare, 'sh', '-ec', `${script}\nexec "$@"`, 'sh'];
}

/** A path as a process sees it in its own mounts. */
export function seenBy(pid: number, path: string): string {
  return `/proc/${pid}/root${path}`;
}
