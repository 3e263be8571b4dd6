import type { KeyObject } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { Stack } from '../stack/stack.ts';
import type { BackupRow, BackupStore } from '../store/backups.ts';
import type { Log } from '../telemetry/log.ts';
import { createBackup } from './create.ts';
import type { Destination } from './destinations/destination.ts';
import { DirectoryDestination } from './destinations/directory.ts';
import { S3Destination, type S3Settings } from './destinations/s3.ts';
import { EpochKeys, signingKey, type KeySettings } from './keys.ts';
import { publicKey, type Manifest, type Proof } from './manifest.ts';
import { removeBackups } from './prune.ts';
import { judge, type Judged, type Retention } from './retention.ts';
import { readManifest, readProof, verifyObjects, type ObjectLevel } from './verify.ts';

/** One of the two. */
export interface DestinationSettings {
  directory?: string | undefined;
  s3?: S3Settings | undefined;
}

export interface BackupSettings {
  destinations: Readonly<Record<string, DestinationSettings>>;
  keys: KeySettings;
  retention: Retention;
}

export interface BackupsOptions {
  settings: BackupSettings;
  store: BackupStore;
  clock: Clock;
  log: Log;
  /** File of the key that manifests are signed with. */
  signingKeyPath: string;
  /** Steward's own configuration file. */
  configPath: string;
  version: string;
  /** Where a day begins. */
  timeZone: () => string;
}

/** A backup as it lies in its destination. */
export interface KnownBackup {
  manifest: Manifest;
  proof: Proof | null;
}

/** Backups: made, proven, looked at. Failures are of the families `backup` and `stack`. */
export class Backups {
  readonly #options: BackupsOptions;
  readonly keys: EpochKeys;

  constructor(options: BackupsOptions) {
    this.#options = options;
    this.keys = new EpochKeys(options.settings.keys, options.store, options.clock);
  }

  /** The destination of this name, or the first one. @throws Failure `backup.not-configured`, `backup.unknown-destination` */
  destination(name?: string): Destination {
    const { destinations } = this.#options.settings;
    const names = Object.keys(destinations);
    const chosen = name ?? names[0];
    if (chosen === undefined) throw new Failure('backup.not-configured');
    const settings = destinations[chosen];
    if (settings === undefined)
      throw new Failure('backup.unknown-destination', {
        attempted: `use the destination ${chosen}`,
        reason: `there are ${names.join(', ')}`,
      });
    return settings.s3 === undefined
      ? new DirectoryDestination(chosen, settings.directory ?? '')
      : new S3Destination(chosen, settings.s3, this.#options.clock);
  }

  /** The id of a backup that begins now: `20261122_021500`, UTC; one that is not taken. */
  nextId(destination: Destination): string {
    const { clock, store } = this.#options;
    for (let at = clock.now(); ; at += 1000) {
      const id = idAt(at);
      if (store.get(id, destination.name) === null) return id;
    }
  }

  /** Newest first. */
  list(): BackupRow[] {
    return this.#options.store.list('complete');
  }

  /** The backup of an id, or of `latest`. @throws Failure `backup.not-found` */
  find(id: string, destination?: string): BackupRow {
    const all = this.list().filter(
      (row) => (id === 'latest' || row.id === id) && (destination === undefined || row.destination === destination),
    );
    const [found] = all;
    if (found === undefined) throw new Failure('backup.not-found', { attempted: `find the backup ${id}` });
    return found;
  }

  /** The last backup in a destination, or null. */
  last(destination: Destination): BackupRow | null {
    return this.list().find((row) => row.destination === destination.name) ?? null;
  }

  async create(id: string, destination: Destination, stack: Stack, signal: AbortSignal): Promise<void> {
    const { store, clock, log, configPath, version } = this.#options;
    await createBackup({ id, destination, stack, store, keys: this.keys, signer: this.#signer, clock, log, configPath, version, signal });
  }

  /**
   * Reads what lies in the destination; no key is needed.
   *
   * @param signer public key of another Steward that made it, as its `backup info` shows it
   */
  async read(id: string, destination: Destination, signer?: string | null): Promise<KnownBackup> {
    const key = signer == null ? this.#signer : publicKey(signer);
    const { manifest, text } = await readManifest(destination, id, key);
    return { manifest, proof: await readProof(destination, id, key, text) };
  }

  /** Looks at every object. What is found wrong takes back what was proven before. */
  async verify(row: BackupRow, level: ObjectLevel, stack: Stack, signal: AbortSignal): Promise<Manifest> {
    const { store, clock } = this.#options;
    const destination = this.destination(row.destination);
    const keyOf = level === 2 ? await this.keys.opener() : null;
    try {
      const manifest = await verifyObjects({
        id: row.id,
        destination,
        stack,
        signer: this.#signer,
        known: row.manifest,
        level,
        keyOf,
        signal,
      });
      store.setObject(row.id, row.destination, level, clock.now());
      return manifest;
    } catch (error) {
      if (error instanceof Failure && ['backup.missing', 'backup.damaged', 'backup.unreadable', 'backup.not-found'].includes(error.id))
        store.setObject(row.id, row.destination, null, clock.now());
      throw error;
    }
  }

  /** Which backups of a destination are kept, and why; newest first. What is no longer there is not among them. */
  async judge(destination: Destination): Promise<Judged[]> {
    const { settings, timeZone } = this.#options;
    const rows = this.list().filter((row) => row.destination === destination.name);
    const sizes = await Promise.all(rows.map(({ id }) => destination.size(`${id}/manifest.json`)));
    const candidates = rows
      .filter((_, n) => sizes[n] !== null)
      .map(({ id, databaseAt, startedAt, pinned, contentLevel, objectLevel }) => ({
        ...{ id, at: databaseAt ?? startedAt, pinned },
        proven: (contentLevel ?? 0) >= 3 && (objectLevel ?? 0) >= 1,
      }));
    return judge(candidates, settings.retention, timeZone());
  }

  pin({ id, destination }: BackupRow, pinned: boolean): void {
    this.#options.store.pin(id, destination, pinned);
  }

  /** Returns the bytes that were freed. */
  remove(ids: readonly string[], destination: Destination, signal: AbortSignal): Promise<number> {
    return removeBackups(ids, { destination, store: this.#options.store, signer: this.#signer, signal });
  }

  get #signer(): KeyObject {
    return signingKey(this.#options.signingKeyPath);
  }
}

/** The scripts' form of a time: `20261122_021500`. */
export function idAt(at: number): string {
  return new Date(at).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_');
}
