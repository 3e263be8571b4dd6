import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { canMount } from './namespace.ts';

/** Whether disks of a size of their own can be had for programs that run already. */
export const hasSmallDisks = canMount && process.getuid?.() === 0;

/** A disk of its own for one folder, in memory. */
export class SmallDisk {
  readonly path: string;

  constructor(path: string, size: string) {
    this.path = path;
    mkdirSync(path, { recursive: true });
    run('mount', '-t', 'tmpfs', '-o', `size=${size},mode=755`, 'tmpfs', path);
  }

  get free(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  get #filler(): string {
    return join(this.path, 'filler');
  }

  /** Takes space until so many bytes are free, a piece at a time: others take some meanwhile, and who looks after the disk in this process goes on. */
  async fillTo(left: number): Promise<void> {
    if (this.free < left) this.empty();
    for (let taken = existsSync(this.#filler) ? statSync(this.#filler).size : 0; this.free > left;) {
      const bytes = Math.min(32 << 20, this.free - left);
      await promisify(execFile)('fallocate', ['-o', String(taken), '-l', String(bytes), this.#filler]);
      taken += bytes;
    }
  }

  empty(): void {
    if (existsSync(this.#filler)) rmSync(this.#filler);
  }

  /** Also under programs that still use it. */
  dispose(): void {
    run('umount', '--lazy', this.path);
  }
}

function run(...[program, ...args]: [string, ...string[]]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
}
