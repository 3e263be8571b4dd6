import { rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Bytes that are kept back: room for the records of some hundred decisions. */
export const reserved = 2 * 1024 * 1024;

/**
 * Space that is held while there is some and given back when the disk is full, so that what mends it (a veto, the end of
 * a job, a prune, a restore) can still be written down.
 */
export class Reserve {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  get held(): boolean {
    return statSync(this.#path, { throwIfNoEntry: false })?.size === reserved;
  }

  /** Holds the space, where that leaves as much again. @returns whether it is held */
  take(): boolean {
    if (this.held) return true;
    try {
      const { bavail, bsize } = statfsSync(dirname(this.#path));
      if (bavail * bsize < 2 * reserved) return false;
      writeFileSync(this.#path, Buffer.alloc(reserved, 0x5a), { mode: 0o600, flush: true });
    } catch {
      this.give();
    }
    return this.held;
  }

  /** @returns whether the space is free now; on a read-only disk it is not */
  give(): boolean {
    try {
      rmSync(this.#path, { force: true });
      return true;
    } catch {
      return false;
    }
  }
}
