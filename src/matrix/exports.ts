import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Clock, Ids } from '../clock.ts';
import { Failure } from '../failures/failure.ts';

const keep = 7 * 24 * 3600 * 1000;

/** Files on their way to the room, and those that are too large for it. */
export class Exports {
  readonly #dir: string;
  readonly #clock: Clock;
  readonly #ids: Ids;

  constructor(dir: string, clock: Clock, ids: Ids) {
    this.#dir = dir;
    this.#clock = clock;
    this.#ids = ids;
  }

  /** Writes a file of mode 0600, streamed. @returns its path; throws Failure `room.no-file`, and those of the chunks */
  async write(name: string, chunks: AsyncIterable<string>): Promise<string> {
    const path = join(this.#dir, `${this.#ids.short(8)}-${name.replace(/[^\w.-]/g, '_')}`);
    try {
      await mkdir(this.#dir, { recursive: true, mode: 0o700 });
      await pipeline(Readable.from(chunks), createWriteStream(path, { mode: 0o600, flags: 'wx' }));
    } catch (error) {
      await rm(path, { force: true });
      const { code } = error as NodeJS.ErrnoException;
      if (error instanceof Failure || code === undefined) throw error;
      throw new Failure('room.no-file', {
        attempted: `write ${name}`,
        reason: `the folder \`exports\` cannot be written (${code})`,
        cause: error,
      });
    }
    return path;
  }

  /** Removes what is older than 7 days. */
  async prune(): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [])) {
      const path = join(this.#dir, name);
      const { mtimeMs } = await stat(path);
      if (mtimeMs < this.#clock.now() - keep) await rm(path, { force: true });
    }
  }
}
