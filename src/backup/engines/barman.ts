import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import type { Engine, EngineBackup } from './engine.ts';
import { lookBound, parsed, runEngine } from './run.ts';

/** `barman -f json list-backups`, as far as it is read. */
const listShape = z.record(
  z.string(),
  z.array(
    z.object({
      backup_id: z.string(),
      status: z.string().optional(),
      end_time_timestamp: z.coerce.number().nullish(),
      size_bytes: z.coerce.number().nullish(),
    }),
  ),
);

/** `20261122T021500`, in the zone of Barman's machine. */
const idForm = /^\d{8}T\d{6}$/;

/** Barman 3: https://docs.pgbarman.org */
export class Barman implements Engine {
  readonly name = 'Barman';
  readonly server: string;
  readonly #command: readonly string[];

  /** @param server its name of the database; `command` the program, with what must stand before it or with it */
  constructor(server: string, command: readonly string[]) {
    this.server = server;
    this.#command = command;
  }

  async list(signal?: AbortSignal): Promise<EngineBackup[]> {
    const attempted = `ask Barman for the backups of ${this.server}`;
    const text = await runEngine(attempted, [...this.#command, '-f', 'json', 'list-backups', this.server], { signal, timeout: lookBound });
    const found = listShape.safeParse(parsed(attempted, text));
    if (!found.success) throw new Failure('backup.engine-failed', { attempted, reason: 'its answer is not of the form that is known' });
    return (found.data[this.server] ?? [])
      .filter(({ backup_id: id }) => idForm.test(id))
      .map(({ backup_id: label, status, end_time_timestamp: end, size_bytes: bytes }) => ({
        ...{ label, at: (end ?? 0) * 1000, bytes: bytes ?? 0 },
        // One that is whole has a size and an end, and no other word than DONE.
        problem: (status ?? 'DONE') === 'DONE' && end != null ? null : `its state is ${status ?? 'unknown'}`,
      }))
      .sort((one, other) => (one.label < other.label ? 1 : -1));
  }

  async create(signal: AbortSignal): Promise<void> {
    await runEngine(`back up ${this.server} with Barman`, [...this.#command, 'backup', this.server, '--wait'], { signal });
  }

  restoreLine(label: string): string {
    return [...this.#command, 'recover', this.server, label, 'FOLDER'].join(' ');
  }
}
