import { dirname, join } from 'node:path';
import type { Clock } from '../../clock.ts';
import type { Direction, HeldFile, LoadFormat, MediaFile, RestoreDatabases, RestorePlace, Snapshot, Space, StagedFile } from '../stack.ts';
import type { HostConfig } from '../mas-config.ts';
import type { Access } from './postgres.ts';
import { FileRestore } from './restore-files.ts';
import { MediaRestore } from './restore-media.ts';
import { PostgresRestore } from './restore-postgres.ts';
import { SqliteRestore } from './restore-sqlite.ts';
import { freeAt } from './space.ts';

export interface HostRestoresOptions {
  config: () => Promise<HostConfig>;
  /** Null for SQLite. */
  access: (config: HostConfig) => Access | null;
  postgresPrograms: string | undefined;
  /** Folder of Steward's own. */
  dir: string;
  clock: Clock;
}

/** Restores on one machine: databases beside the live one, media beside the live ones, other files in a folder of Steward's own. */
export class HostRestores implements RestorePlace {
  readonly #options: HostRestoresOptions;

  constructor(options: HostRestoresOptions) {
    this.#options = options;
  }

  async load(id: string, format: LoadFormat, data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string[]> {
    return (await this.#database()).load(id, format, data, signal);
  }

  async openPrepared(id: string): Promise<Snapshot> {
    return (await this.#database()).openPrepared(id);
  }

  async databases(id: string): Promise<RestoreDatabases> {
    return (await this.#database()).databases(id);
  }

  async swapDatabase(id: string, direction: Direction): Promise<void> {
    await (await this.#database()).swap(id, direction);
  }

  async dropDatabase(id: string, which: 'prepared' | 'kept'): Promise<void> {
    await (await this.#database()).drop(id, which);
  }

  async mediaFile(path: string): Promise<Omit<MediaFile, 'path'> | null> {
    return (await this.#media('')).file(path);
  }

  async stageMedia(
    id: string,
    tar: AsyncIterable<Uint8Array>,
    wanted: (path: string, bytes: number) => boolean,
    signal: AbortSignal,
  ): Promise<MediaFile[]> {
    return (await this.#media(id)).stage(tar, wanted, signal);
  }

  async addMedia(id: string): Promise<void> {
    await (await this.#media(id)).add();
  }

  async takeMediaBack(id: string): Promise<void> {
    await (await this.#media(id)).takeBack();
  }

  async stageFiles(id: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal, to?: string): Promise<StagedFile[]> {
    return this.#files(id).stage(tar, signal, to);
  }

  async stageFile(id: string, path: string, content: Buffer): Promise<StagedFile> {
    return this.#files(id).put(path, content);
  }

  async readStaged(id: string, path: string): Promise<Buffer | null> {
    return this.#files(id).read(path);
  }

  async swapFiles(id: string, direction: Direction): Promise<void> {
    await this.#files(id).swap(direction);
  }

  async heldFiles(id: string): Promise<HeldFile[]> {
    return this.#files(id).held();
  }

  async dropFiles(id: string): Promise<void> {
    await (await this.#media(id)).drop();
    await this.#files(id).drop();
  }

  async databaseSpace(bytes: number): Promise<Space> {
    return (await this.#database()).space(bytes);
  }

  async mediaSpace(bytes: number): Promise<Space> {
    const { mediaPath } = await this.#options.config();
    const place = dirname(mediaPath);
    return { place, needed: bytes, free: await freeAt(place), grant: null };
  }

  async #database(): Promise<PostgresRestore | SqliteRestore> {
    const config = await this.#options.config();
    const access = this.#options.access(config);
    return access === null || config.database.kind === 'sqlite'
      ? new SqliteRestore((config.database as { path: string }).path)
      : new PostgresRestore(access, this.#options.postgresPrograms, this.#options.clock);
  }

  async #media(id: string): Promise<MediaRestore> {
    return new MediaRestore((await this.#options.config()).mediaPath, id);
  }

  #files(id: string): FileRestore {
    return new FileRestore(join(this.#options.dir, id, 'files'), this.#options.config);
  }
}
