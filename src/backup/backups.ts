import type { KeyObject } from 'node:crypto';
import { secondsSince, type Clock, type Ids } from '../clock.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import type { Stack } from '../stack/stack.ts';
import type { BackupRecipients } from '../store/backup-recipients.ts';
import type { BackupRow, BackupStore } from '../store/backups.ts';
import type { RestorePart } from '../store/restores.ts';
import type { Log } from '../telemetry/log.ts';
import type { BackupContent, ContentSummary } from './content.ts';
import { copyBackup } from './copy.ts';
import { createBackup, hashOfText, once } from './create.ts';
import type { Destination } from './destinations/destination.ts';
import { DirectoryDestination } from './destinations/directory.ts';
import { S3Destination, type S3Settings } from './destinations/s3.ts';
import type { Engine } from './engines/engine.ts';
import { engineOf, heldByEngine, type EngineSettings } from './engines/held.ts';
import { assertHeld } from './held.ts';
import type { KeySettings } from './identities.ts';
import { EpochKeys, signingKey } from './keys.ts';
import { loseObjects } from './lost-objects.ts';
import { Recipients } from './recipients.ts';
import { objectsOf, publicKey, publicOf, signRecord, type Manifest, type ObjectProof, type Proof } from './manifest.ts';
import type { OwnPart } from './own.ts';
import { openerOf, type Unlocker } from './opener.ts';
import { indexLines } from './media-index.ts';
import type { Tell } from './progress.ts';
import { deadPacks } from './media-check.ts';
import { namesInUse, removeBackups } from './prune.ts';
import { putRescueSheet, rescueFacts, rescueText } from './rescue.ts';
import type { Needed } from './space.ts';
import { judge, type Judged, type Retention } from './retention.ts';
import { scanDestination, type ScanReport } from './scan.ts';
import { scriptsContent, scriptsSummary, type ScriptsContent } from './scripts/content.ts';
import { ScriptsFolder, scriptsPlace, type ScriptsBackup } from './scripts/folder.ts';
import { stewardContent, summaryOf } from './steward-content.ts';
import { isTried, tryStored, type Trial } from './trial.ts';
import { objectProofOf, openedWhole, readManifest, readProof, verifyObjects, type ObjectLevel } from './verify.ts';

/** A dump is not smaller than its database by more than this: what is certainly too little space is refused before. */
const atMostSmaller = 8;

/** One of the two. */
export interface DestinationSettings {
  directory?: string | undefined;
  s3?: S3Settings | undefined;
}

export interface BackupSettings {
  /** Folder of backups that the scripts made. */
  scriptsDir?: string | undefined;
  /** Who guards the database; Steward itself where left out. */
  database?: EngineSettings | undefined;
  destinations: Readonly<Record<string, DestinationSettings>>;
  keys: KeySettings;
  retention: Retention;
}

export interface BackupsOptions {
  settings: BackupSettings;
  store: BackupStore;
  recipients: BackupRecipients;
  clock: Clock;
  log: Log;
  /** File of the key that manifests are signed with. */
  signingKeyPath: string;
  /** Steward's own configuration file. */
  configPath: string;
  /** Steward itself, which goes with the rest. */
  own: OwnPart;
  version: string;
  /** Where a day begins. */
  timeZone: () => string;
}

/** What looking at a backup needs beside it. */
export interface VerifyAround {
  stack: Stack;
  ids: Ids;
  signal: AbortSignal;
  progress: (words: string) => void;
}

export type Verified = Trial & { manifest: Manifest };

export interface ContentOptions {
  id: string;
  /** Name of the destination, or `scripts`. */
  destination: string;
  signer: string | null;
  parts: readonly RestorePart[];
  unlock: Unlocker;
  signal: AbortSignal;
  progress: (words: string) => void;
}

/** A backup in one destination, as the catalogue knows it. */
export interface Backup extends BackupRow {
  /** Whether somebody has shown to be able to open all keys that it is sealed to. */
  isOpenable: boolean;
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
  /** Those that the scripts made; null where none are configured. */
  readonly scripts: ScriptsFolder | null;

  /** What guards the database; null where Steward dumps it. */
  readonly engine: Engine | null;

  constructor(options: BackupsOptions) {
    this.#options = options;
    const { settings, store, clock } = options;
    const { database, scriptsDir } = settings;
    this.engine = database === undefined ? null : engineOf(database);
    this.scripts = scriptsDir === undefined ? null : new ScriptsFolder(scriptsDir);
    const recipients = new Recipients(settings.keys, options.recipients, clock, () => this.#signer);
    this.keys = new EpochKeys(settings.keys, store, recipients, clock);
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

  /** The destination of this name, or all of the configuration in its order. @throws as `destination` */
  destinations(name?: string): Destination[] {
    if (name !== undefined) return [this.destination(name)];
    const names = Object.keys(this.#options.settings.destinations);
    if (names.length === 0) throw new Failure('backup.not-configured');
    return names.map((each) => this.destination(each));
  }

  /** The id of a backup that begins now: `20261122_021500`, UTC; one that is taken in no destination. */
  nextId(): string {
    const { clock, store } = this.#options;
    for (let at = clock.now(); ; at += 1000) {
      const id = idAt(at);
      if (!store.isTaken(id) && this.scripts?.hasFolder(id) !== true) return id;
    }
  }

  /** A row for each destination that has one; newest first. */
  list(): Backup[] {
    const openable = this.keys.openable();
    return this.#options.store.list('complete').map((row) => ({
      ...row,
      // Of one from before this was kept it is not known which.
      isOpenable: row.epochs === null ? openable.size > 0 : row.epochs.every((epoch) => openable.has(epoch)),
    }));
  }

  /** Each backup with all the destinations that have it, as `all` orders them; newest first. */
  grouped(): [Backup, ...Backup[]][] {
    const groups = new Map<string, Backup[]>();
    for (const row of this.list()) groups.set(row.id, [...(groups.get(row.id) ?? []), row]);
    return [...groups.values()].map((rows) => this.#inOrder(rows) as [Backup, ...Backup[]]);
  }

  /**
   * The backup of the scripts that is meant, or null where one of Steward's own is: of an id that both have, and of `latest`, unless
   * Steward has none.
   *
   * @throws Failure `backup.not-found`, `backup.destination-failed`
   */
  async ofScripts(id: string, destination?: string): Promise<ScriptsBackup | null> {
    if (this.scripts === null || (destination !== undefined && destination !== scriptsPlace)) return null;
    if (destination === scriptsPlace) return this.scripts.find(id);
    const own = this.list();
    if (own.length > 0 && (id === 'latest' || own.some((row) => row.id === id))) return null;
    return id === 'latest' ? this.scripts.find(id) : this.scripts.get(id);
  }

  /** The backup of an id, or of `latest`, where it is best proven. @throws Failure `backup.not-found` */
  find(id: string, destination?: string): Backup {
    return this.all(id, destination)[0];
  }

  /**
   * The backup of an id, or of `latest`, in each destination that has it, or in one: proven ones first, then in the order of the
   * configuration.
   *
   * @throws Failure `backup.not-found`
   */
  all(id: string, destination?: string): [Backup, ...Backup[]] {
    if (destination !== undefined) this.destination(destination);
    const all = this.list().filter((row) => destination === undefined || row.destination === destination);
    const wanted = id === 'latest' ? all[0]?.id : id;
    const [first, ...rest] = this.#inOrder(all.filter((row) => row.id === wanted));
    if (first === undefined)
      throw new Failure('backup.not-found', {
        attempted: `find the backup ${id}${destination === undefined ? '' : ` in ${destination}`}`,
      });
    return [first, ...rest];
  }

  #inOrder(rows: readonly Backup[]): Backup[] {
    const names = Object.keys(this.#options.settings.destinations);
    // One that the configuration does not name any more cannot be read.
    const place = ({ destination }: BackupRow): number => (names.includes(destination) ? names.indexOf(destination) : names.length);
    return rows.toSorted((one, other) => Number(isProven(other)) - Number(isProven(one)) || place(one) - place(other));
  }

  /** The last backup in a destination, or null. */
  last(destination: Destination): Backup | null {
    return this.list().find((row) => row.destination === destination.name) ?? null;
  }

  /** What a backup comes to in a destination, at the least. */
  async needed(destination: Destination, databaseBytes: number): Promise<Needed> {
    const dump = this.engine === null ? databaseBytes / atMostSmaller : 0;
    return {
      bytes: Math.max(dump, this.last(destination)?.bytes ?? 0),
      object: this.engine === null ? Math.max(dump, await this.#lastDump(destination, databaseBytes)) : 0,
    };
  }

  /** Bytes of the newest dump that lies where larger objects fit, less where the database has shrunk since; 0 where none can be read. */
  async #lastDump({ largest }: Destination, databaseBytes: number): Promise<number> {
    const roomier = this.destinations().filter((destination) => destination.largest > largest);
    const newest = this.list().find((row) => roomier.some(({ name }) => name === row.destination));
    if (newest === undefined) return 0;
    const known = await this.read(newest.id, this.destination(newest.destination)).catch(() => null);
    const { stored } = known?.manifest.objects.find(({ role }) => role === 'database') ?? {};
    return (stored?.bytes ?? 0) * Math.min(1, databaseBytes / (known?.manifest.server.database.bytes ?? databaseBytes));
  }

  /**
   * @param allMedia all media and packs are looked at, also where that is not due
   * @throws Failure `backup.not-everywhere` when it is in some of the destinations, and as `createBackup`
   */
  async create(id: string, names: readonly string[], allMedia: boolean, stack: Stack, signal: AbortSignal, tell: Tell): Promise<void> {
    const { store, clock, log, configPath, own, version } = this.#options;
    const { bytes, major } = await stack.databaseFacts();
    if (this.engine !== null && major === null)
      throw new Failure('backup.engine-failed', { attempted: `back up with ${this.engine.name}`, reason: 'the homeserver uses SQLite' });
    const lost = await createBackup({
      ...{
        id,
        stack,
        source: this.engine === null ? stack : heldByEngine(this.engine, tell),
        store,
        keys: this.keys,
        signer: this.#signer,
        clock,
        log,
        configPath,
        own,
        version,
        allMedia,
        signal,
        tell,
      },
      destinations: names.map((name) => this.destination(name)),
      all: this.destinations(),
      needed: (destination) => this.needed(destination, bytes),
    });
    for (const { destination, cause } of lost) log.error('a destination failed', { file: destination.place, error: cause });
    if (lost.length > 0)
      throw notEverywhere(
        id,
        this.list().filter((row) => row.id === id),
        lost.map(({ destination, cause }) => ({ name: destination.name, failure: asFailure(cause) })),
      );
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

  /**
   * Reads a backup where it can be read, of the places that have it, in their order.
   *
   * @throws what the last of them said
   */
  async readFromAny(rows: readonly [Backup, ...Backup[]]): Promise<KnownBackup & { row: Backup; destination: Destination }> {
    let last: unknown;
    for (const row of rows) {
      try {
        const destination = this.destination(row.destination);
        return { row, destination, ...(await this.read(row.id, destination)) };
      } catch (error) {
        last = error;
      }
    }
    throw last;
  }

  /**
   * What a backup says of itself, whoever made it.
   *
   * @param name of the destination, or `scripts`
   */
  async summary(id: string, name: string, signer: string | null): Promise<ContentSummary> {
    if (name === scriptsPlace && this.scripts !== null) return scriptsSummary(await this.scripts.find(id));
    return summaryOf((await this.read(id, this.destination(name), signer)).manifest);
  }

  /**
   * Reads one of the scripts to its end, all of it.
   *
   * @throws as `scriptsContent`
   */
  async readScripts(id: string, signal: AbortSignal, progress: (words: string) => void): Promise<ScriptsContent> {
    if (this.scripts === null) throw new Failure('backup.not-found', { attempted: `read the backup ${id} of the scripts` });
    return scriptsContent(this.scripts, await this.scripts.find(id), { signal, progress });
  }

  /** Opens a backup for a restore, whoever made it; one of the scripts is read to its end. */
  async content({ id, destination: name, signer, parts, unlock, signal, progress }: ContentOptions): Promise<BackupContent> {
    if (name === scriptsPlace && this.scripts !== null)
      return scriptsContent(this.scripts, await this.scripts.find(id), { parts, signal, progress });
    const destination = this.destination(name);
    const { manifest, proof } = await this.read(id, destination, signer);
    progress('it waits for the keys');
    return stewardContent(manifest, proof, destination, await openerOf(manifest, destination, unlock));
  }

  /**
   * Looks at every object, and at level 3 and above tries what they hold. What is found wrong takes back what was proven before;
   * what opening them has shown is written beside the manifest.
   */
  async verify(row: BackupRow, level: ObjectLevel, unlock: Unlocker, around: VerifyAround): Promise<Verified> {
    const { store, clock, log } = this.#options;
    const { stack, ids, signal, progress } = around;
    const destination = this.destination(row.destination);
    // A destination that fails meanwhile does not hide what was found: this backup loses its proof all the same.
    const lost = (name: string): Promise<void> =>
      loseObjects([name], { destination, store, signer: this.#signer, clock }).catch((error: unknown) => {
        log.error('which backups lack an object could not be told', { file: name, error });
      });
    const started = clock.monotonic();
    try {
      const keyOf = level < 2 ? null : await openerOf((await this.read(row.id, destination)).manifest, destination, unlock);
      const { manifest, text, proof } = await verifyObjects({
        id: row.id,
        destination,
        stack,
        signer: this.#signer,
        known: row.manifest,
        level,
        others: () => namesInUse({ destination, store, signer: this.#signer }, new Set([row.id])),
        keyOf,
        apart: (role) => isTried(role, level),
        lost,
        signal,
      });
      const read = { name: 'read the objects', seconds: secondsSince(clock, started) };
      const trial: Trial =
        keyOf === null || level < 3
          ? { level, missing: null, tables: 0, rows: 0, media: null, isolation: null, phases: [], probed: null }
          : await tryStored({
              manifest,
              proof,
              destination,
              stack,
              keyOf,
              level: level as 3 | 4 | 5,
              clock,
              ids,
              signal,
              progress,
              lost,
            });
      const { probed, ...found } = trial;
      const phases = [read, ...found.phases];
      if (level >= 2) {
        const record: Omit<ObjectProof, 'signer' | 'signature'> = {
          format: 'steward/object-proof/1',
          ...{ id: row.id, destination: destination.name, manifest: hashOfText(text), at: new Date(clock.now()).toISOString() },
          ...found,
          phases,
        };
        await destination.put(objectProofOf(row.id), once(signRecord<ObjectProof>(record, this.#signer).text));
      }
      // A quicker look takes back nothing of what a longer one has shown, nor does one that reads nothing end what one has found.
      if (level > 0) store.setObject(row.id, row.destination, Math.max(found.level, row.objectLevel ?? 0), clock.now());
      return { ...found, phases, probed, manifest };
    } catch (error) {
      if (error instanceof Failure && isFaultOfTheStored(error)) store.setObject(row.id, row.destination, null, clock.now());
      throw error;
    }
  }

  /** What a destination has not of a backup. */
  async lacking(manifest: Manifest, destination: Destination): Promise<Needed> {
    const needed: Needed = { bytes: 0, object: 0 };
    for (const { name, stored } of objectsOf(manifest)) {
      if ((await destination.size(name)) === stored.bytes) continue;
      needed.bytes += stored.bytes;
      needed.object = Math.max(needed.object, stored.bytes);
    }
    return needed;
  }

  /**
   * Takes a backup to another destination, from those that have it.
   *
   * @throws Failure `backup.*`
   */
  copy(
    id: string,
    from: readonly string[],
    to: string,
    signal: AbortSignal,
    progress: (words: string) => void,
  ): Promise<{ objects: number; bytes: number }> {
    const { store, clock } = this.#options;
    const sources = from.map((name) => this.destination(name));
    return copyBackup({ ...{ id, sources, store, signer: this.#signer, clock, signal, progress }, target: this.destination(to) });
  }

  /**
   * Makes the catalogue of a destination anew from what lies there. Where lists of media are sealed, it is looked through once
   * more when they can be opened: what is found without a key is known before anybody is asked for one.
   */
  async scan(destination: Destination, serverName: string | null, unlock: Unlocker, signal: AbortSignal): Promise<ScanReport> {
    const { store, clock } = this.#options;
    const options = { destination, store, signer: this.#signer, serverName, clock, signal };
    const sealed = new Set<Manifest>();
    const closed = await scanDestination({
      ...options,
      openList: (manifest) => {
        sealed.add(manifest);
        return Promise.resolve(null);
      },
    });
    const [manifest] = sealed;
    if (manifest === undefined) return closed;
    // Asked before the second look begins: what is waited for may take an hour, and backups are made meanwhile.
    const keyOf = await openerOf(manifest, destination, unlock).catch(nullWithoutKey);
    if (keyOf === null) return closed;
    const opened = await scanDestination({
      ...options,
      openList: async (_manifest, list) => {
        const paths: string[] = [];
        try {
          for await (const { path } of indexLines(openedWhole(destination, list, keyOf, signal))) paths.push(path);
        } catch (error) {
          return nullWithoutKey(error);
        }
        return paths;
      },
    });
    return { ...opened, added: [...closed.added, ...opened.added], gone: [...closed.gone, ...opened.gone] };
  }

  /** Puts rescue sheet and sealed keys, as they are now, into each destination. A problem is one of that destination, in words. */
  async renewRescueSheets(stack: Stack): Promise<{ destination: string; problem: string | null }[]> {
    const { store, configPath, own, version } = this.#options;
    const destinations = this.destinations();
    const source = { stewardVersion: version, signer: publicOf(this.#signer), epochs: this.keys.all(), destinations, configPath, own };
    const renew = async (destination: Destination): Promise<void> => {
      await assertHeld(destination, store, `put the rescue sheet into ${destination.name}`);
      const text = rescueText(rescueFacts(source, await stack.facts(), await stack.databaseFacts()));
      await putRescueSheet(destination, text, this.keys.all());
    };
    return Promise.all(
      destinations.map((destination) =>
        renew(destination).then(
          () => ({ destination: destination.name, problem: null }),
          (error: unknown) => ({ destination: destination.name, problem: asFailure(error).reason }),
        ),
      ),
    );
  }

  /** Which backups of a destination are kept, and why; newest first. What is no longer there is not among them. */
  async judge(destination: Destination): Promise<Judged[]> {
    const { settings, timeZone } = this.#options;
    const rows = this.list().filter((row) => row.destination === destination.name);
    const sizes = await Promise.all(rows.map(({ id }) => destination.size(`${id}/manifest.json`)));
    const candidates = rows
      .filter((_, n) => sizes[n] !== null)
      .map((row) => ({ ...{ id: row.id, at: row.databaseAt ?? row.startedAt, pinned: row.pinned }, proven: isProven(row) }));
    return judge(candidates, settings.retention, timeZone());
  }

  pin(id: string, destinations: readonly string[], pinned: boolean): void {
    const { store } = this.#options;
    store.transaction(() => {
      for (const destination of destinations) store.pin(id, destination, pinned);
    });
  }

  /**
   * Removes backups from destinations, and packs whose media the homeserver has not any more, where it can be asked and no backup
   * that stays is made of them; a destination that fails does not keep the others from it. Returns the bytes that were freed.
   *
   * @throws what the first that failed said, when all have had their turn
   */
  async remove(from: readonly { destination: string; ids: readonly string[] }[], stack: () => Stack, signal: AbortSignal): Promise<number> {
    const { store } = this.#options;
    let freed = 0;
    const failed: unknown[] = [];
    for (const { destination, ids } of from) {
      signal.throwIfAborted();
      try {
        const place = this.destination(destination);
        await assertHeld(place, store, `remove backups from ${destination}`);
        await this.#forgetDeadPacks(place, stack, signal);
        freed += await removeBackups(ids, { destination: place, store, signer: this.#signer, signal });
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length > 0) throw failed[0];
    return freed;
  }

  /** Later backups are not made of them any more; those that are there keep them. */
  async #forgetDeadPacks(destination: Destination, stack: () => Stack, signal: AbortSignal): Promise<void> {
    const { store, log } = this.#options;
    try {
      for (const name of await deadPacks(stack(), store, destination, signal)) store.dropPack(destination.name, name);
    } catch (error) {
      signal.throwIfAborted();
      // Without the homeserver's database nobody knows: what is old goes all the same.
      log.warn('packs were not compared with the homeserver', { file: destination.place, error });
    }
  }

  get #signer(): KeyObject {
    return signingKey(this.#options.signingKeyPath);
  }
}

/** What is sealed is left sealed where nobody gives a key. @throws any other error */
function nullWithoutKey(error: unknown): null {
  if (error instanceof Failure && error.id === 'backup.no-key') return null;
  throw error;
}

const isFaultOfTheStored = ({ id }: Failure): boolean =>
  ['backup.missing', 'backup.damaged', 'backup.unreadable', 'backup.not-found', 'backup.not-proven'].includes(id);

/** Content restored and compared, what is stored read again, and somebody has shown to be able to open it. */
export function isProven(row: Pick<Backup, 'contentLevel' | 'objectLevel' | 'isOpenable'>): boolean {
  return isIntact(row) && row.isOpenable;
}

/** Content restored and compared, and what is stored read again. */
export function isIntact({ contentLevel, objectLevel }: Pick<BackupRow, 'contentLevel' | 'objectLevel'>): boolean {
  return (contentLevel ?? 0) >= 3 && (objectLevel ?? 0) >= 1;
}

/** Proven in two destinations. @param rows of one backup */
export function isSafe(rows: readonly Backup[]): boolean {
  return rows.filter(isProven).length >= 2;
}

/** @param rows where it is; `lost` where it was to be too */
export function notEverywhere(id: string, rows: readonly Backup[], lost: readonly { name: string; failure: Failure }[]): Failure {
  const there = rows.filter(({ destination }) => lost.every(({ name }) => name !== destination));
  const where = there.map((row) => `${row.destination}, ${isProven(row) ? 'proven' : 'not proven'}`).join('; ');
  const missing = lost.filter(({ name }) => rows.every(({ destination }) => destination !== name));
  // What is too large for a place is not there the next time either.
  const [tooLarge] = missing.filter(({ failure }) => failure.id === 'backup.object-too-large');
  const later = missing.filter(({ failure }) => failure.id !== 'backup.object-too-large');
  const hints = [
    ...(later.length === 0 ? [] : [`When it is well again: ${later.map(({ name }) => `\`!backup copy ${id} --to ${name}\``).join(', ')}.`]),
    ...(tooLarge === undefined ? [] : [tooLarge.failure.hint]),
  ];
  return new Failure('backup.not-everywhere', {
    attempted: `back up to ${lost.map(({ name }) => name).join(', ')}`,
    reason: `${lost.map(({ name, failure }) => `${name}: ${failure.reason}`).join('; ')}. ${id} is in ${where === '' ? 'no other place' : where}`,
    ...(hints.length === 0 ? {} : { hint: hints.join(' ') }),
  });
}

/** The scripts' form of a time: `20261122_021500`. */
export function idAt(at: number): string {
  return new Date(at).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_');
}
