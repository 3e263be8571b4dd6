import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import type { Engine, EngineBackup } from './engine.ts';
import { lookBound, parsed, runEngine } from './run.ts';

/** `pgbackrest info --output=json`, as far as it is read. */
const infoShape = z.array(
  z.object({
    name: z.string(),
    status: z.object({ code: z.number(), message: z.string() }),
    backup: z
      .array(
        z.object({
          label: z.string(),
          error: z.boolean().nullish(),
          timestamp: z.object({ start: z.number(), stop: z.number() }),
          info: z.object({ size: z.number() }),
        }),
      )
      .default([]),
  }),
);

/** pgBackRest 2: https://pgbackrest.org/command.html */
export class PgBackRest implements Engine {
  readonly name = 'pgBackRest';
  readonly server: string;
  readonly #command: readonly string[];

  /** @param stanza its name of the database; `command` the program, with what must stand before it or with it */
  constructor(stanza: string, command: readonly string[]) {
    this.server = stanza;
    this.#command = command;
  }

  async list(signal?: AbortSignal): Promise<EngineBackup[]> {
    const attempted = `ask pgBackRest for the backups of ${this.server}`;
    const text = await runEngine(attempted, [...this.#command, `--stanza=${this.server}`, '--output=json', 'info'], {
      signal,
      timeout: lookBound,
    });
    const found = infoShape.safeParse(parsed(attempted, text));
    if (!found.success) throw new Failure('backup.engine-failed', { attempted, reason: 'its answer is not of the form that is known' });
    const [stanza] = found.data;
    // 2: no valid backups; anything else but 0 is a fault of the repository or of the stanza.
    if (stanza === undefined || (stanza.status.code !== 0 && stanza.status.code !== 2))
      throw new Failure('backup.engine-failed', { attempted, reason: stanza?.status.message ?? 'it knows no such stanza' });
    return stanza.backup
      .map(({ label, error, timestamp, info }) => ({
        ...{ label, at: timestamp.stop * 1000, bytes: info.size },
        problem: error === true ? 'it found pages whose checksum is wrong' : null,
      }))
      .sort((one, other) => other.at - one.at);
  }

  async create(signal: AbortSignal): Promise<void> {
    await runEngine(`back up ${this.server} with pgBackRest`, [...this.#command, `--stanza=${this.server}`, 'backup'], { signal });
  }

  restoreLine(label: string): string {
    return [...this.#command, `--stanza=${this.server}`, `--set=${label}`, '--delta', 'restore'].join(' ');
  }
}
