import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { Deliveries } from '../store/deliveries.ts';
import { noteText } from './note.ts';
import { writePrivateFile } from './private-file.ts';
import type { Delivery, SecretNote, SecretSink } from './sink.ts';

/** One 0600 file an account, in a 0700 folder. */
export class FileSink implements SecretSink {
  readonly kind = 'file';
  readonly #dir: string;
  readonly #expire: number;
  readonly #deliveries: Deliveries;
  readonly #clock: Clock;

  /** @param expire milliseconds that a note is kept */
  constructor(dir: string, expire: number, deliveries: Deliveries, clock: Clock) {
    this.#dir = dir;
    this.#expire = expire;
    this.#deliveries = deliveries;
    this.#clock = clock;
  }

  async put(note: SecretNote): Promise<Delivery> {
    const path = this.#path(note.userId);
    const now = this.#clock.now();
    const expiresAt = now + this.#expire;
    const content = noteText(note, now, expiresAt);
    try {
      this.#deliveries.put(note.userId, now, expiresAt);
      await setAside(path);
      await writePrivateFile(path, content);
    } catch (error) {
      await this.keep(note.userId);
      if (!existsSync(path)) this.#deliveries.remove(note.userId);
      throw new Failure('secret.not-stored', {
        attempted: `store the password of ${note.userId}`,
        reason: `${path} cannot be written (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`,
        cause: error,
      });
    }
    return { sink: this.kind, name: path, expiresAt };
  }

  find(userId: string): Delivery | null {
    const expiresAt = this.#deliveries.expiry(userId);
    return expiresAt === null ? null : { sink: this.kind, name: this.#path(userId), expiresAt };
  }

  async read(userId: string): Promise<string | null> {
    return this.find(userId) === null ? null : readFile(this.#path(userId), 'utf8').catch(absent);
  }

  isSettled(userId: string): boolean {
    return !existsSync(asideOf(this.#path(userId)));
  }

  async keep(userId: string): Promise<void> {
    await rm(asideOf(this.#path(userId)), { force: true });
  }

  async withdraw(userId: string): Promise<void> {
    const path = this.#path(userId);
    if (existsSync(asideOf(path))) await rename(asideOf(path), path);
    else await this.remove(userId);
  }

  async remove(userId: string): Promise<void> {
    await this.keep(userId);
    await rm(this.#path(userId), { force: true });
    this.#deliveries.remove(userId);
  }

  async markDeactivated(userId: string, at: number): Promise<void> {
    const path = this.#path(userId);
    const content = await readFile(path, 'utf8').catch(() => null);
    if (content === null) return;
    await writePrivateFile(path, `${content.replace(/^Deactivated: .*\n/m, '')}Deactivated: ${new Date(at).toISOString()}\n`);
  }

  async expire(now: number): Promise<number> {
    const due = this.#deliveries.due(now);
    for (const userId of due) await this.remove(userId);
    return due.length;
  }

  #path(userId: string): string {
    // A localpart may hold a slash; percent-encoding keeps every account in this folder, under a name of its own.
    const name = encodeURIComponent(userId.slice(1)).replaceAll('%3A', '_');
    return join(
      this.#dir,
      name.length <= 200 ? `${name}.txt` : `${name.slice(0, 150)}-${createHash('sha256').update(userId).digest('hex').slice(0, 16)}.txt`,
    );
  }
}

function absent(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}

const asideOf = (path: string): string => `${path}.before`;

/** The file of a path under a second name, so that replacing it by a rename leaves it there. */
async function setAside(path: string): Promise<void> {
  await rm(asideOf(path), { force: true });
  if (existsSync(path)) await link(path, asideOf(path));
}
