import type { Secret } from '../config/secret.ts';
import type { SourceStream } from './stream.ts';

/** Where the homeserver's data are in a database of PostgreSQL. */
export interface PostgresPlace {
  kind: 'postgres';
  host: string;
  port: number;
  name: string;
  /** The role that Steward connects as. */
  user: string;
  /** The role that the homeserver connects as. */
  owner: string;
}

export interface SqlitePlace {
  kind: 'sqlite';
  path: string;
}

/** What is known of the homeserver from its own configuration; reading it needs nothing but its files. */
export interface StackFacts {
  serverName: string;
  database: PostgresPlace | SqlitePlace;
  mediaPath: string;
  /** Modules of `media_storage_providers`: places beside `mediaPath` where media may lie. */
  storageProviders: readonly string[];
  signingKeyPath: string;
  /** Every file that was read, in order; what the homeserver's configuration is made of. */
  configFiles: readonly string[];
  /** Other files that it names: log configuration, application services. */
  includedFiles: readonly string[];
  /** Files that it names for their secrets. */
  secretFiles: readonly string[];
  /** Of those two, what is not there. */
  absentFiles: readonly string[];
  /** By homeserver.yaml Matrix Authentication Service has the accounts. */
  delegated: boolean;
  /** Its database, where Steward is told of it: that is copied whoever has the accounts. Its configuration and secrets are among the homeserver's. */
  mas: MasPlace | null;
  /** Bytes free where the media are, for those who may write there; null when it cannot be told. */
  freeBytes: number | null;
}

export type MasPlace = Omit<PostgresPlace, 'owner'>;

/** What the database says of itself. */
export interface DatabaseFacts {
  /** `15.18`, or SQLite's version. */
  version: string;
  /** The number that dumps and servers must agree on; null for SQLite. */
  major: number | null;
  bytes: number;
  /** `C` and `UTF8` where Synapse is content; null for SQLite. */
  collation: string | null;
  encoding: string | null;
  /** Synapse's own number of the schema, and the oldest that may use it. */
  schemaVersion: number;
  compatVersion: number | null;
}

export type CapabilityName = 'observe' | 'dump' | 'restore' | 'control';

/** A power that Steward has or lacks. */
export interface Capability {
  name: CapabilityName;
  granted: boolean;
  /** What is missing, in words; of what is granted, what it does without. */
  missing: readonly string[];
  /** Lines to run or to put into a file, that give what is missing. */
  grant: readonly string[];
}

export interface ComponentStatus {
  name: string;
  running: boolean;
  /** What is another one after each start, where that can be told. */
  invocation: string | null;
}

/** One read-only view of the database, the same for all that is read from it. */
export interface Snapshot {
  /** Rows of a query without parameters. */
  rows(sql: string): Promise<Record<string, unknown>[]>;
  /** The same, a batch at a time: nothing is held whole. */
  batches(sql: string, size: number): AsyncIterable<Record<string, unknown>[]>;
  /** Ends it; may be called twice. */
  close(): Promise<void>;
}

export type DumpFormat = 'pg_dump' | 'sqlite';

/** The dump of a database and the view of it at the same instant. */
export interface DatabaseDump {
  /** zstd frames of `pg_dump -Fc`, or of the SQLite file. One-time keys are not in it. */
  stream: SourceStream;
  snapshot: Snapshot;
  format: DumpFormat | 'engine';
  /** Who holds the database, where this is only the record of that. */
  engine?: { name: string; server: string; label: string; restore: string };
  /** The stages in words, for the manifest. */
  pipeline: readonly string[];
  /** How far it is; null where that cannot be told, or it has not begun. */
  progress: () => Promise<DumpProgress | null>;
}

/** The dump of the database of Matrix Authentication Service. */
export type MasDump = Pick<DatabaseDump, 'stream' | 'snapshot' | 'pipeline'> & { major: number; bytes: number };

/** How far a dump is. */
export interface DumpProgress {
  /** The table that is copied now. */
  table: string;
  /** Bytes of it that were copied, as text. */
  bytes: number;
  /** Of the whole database, 0 to 1, by the sizes of tables: an estimate. */
  share: number;
}

/** What can be loaded: a dump, or statements that load one into an empty database and do nothing beside. */
export type LoadFormat = DumpFormat | 'sql';

/** A file below the media path. */
export interface MediaFile {
  /** Relative, of the form `local_content/aa/bb/rest`. */
  path: string;
  bytes: number;
  /** SHA-256 of what was read, hex. */
  sha256: string;
}

/** A tar of media files as they are read. */
export interface MediaStream extends SourceStream {
  /** The files in it, once the data have ended. */
  files: Promise<MediaFile[]>;
}

/** Where the copy of a database comes from, and where it is tried. */
export type DatabaseSource = Pick<Stack, 'dumpDatabase' | 'openScratch' | 'readDump'>;

/** A database server of its own that is thrown away; of the same major version as the homeserver's. */
export interface ScratchDatabase extends Snapshot {
  /** Loads zstd frames as `DatabaseDump` gives them, to the end. Throws `backup.unreadable` with what the loader said. */
  load(data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
  /** Runs a statement: what is thrown away may be written to. */
  execute(sql: string): Promise<void>;
  /**
   * Starts the homeserver's program on it, and resolves when that answers: with settings and a signing key of its own, so that it
   * cannot speak as the server, and without a network where the place can take that from it. It ends with Steward, however that ends.
   *
   * @throws Failure `backup.not-proven` with the last that it said, where it does not start; `stack.no-program`
   */
  boot(options: BootOptions, signal: AbortSignal): Promise<ScratchHomeserver>;
}

export interface BootOptions {
  serverName: string;
  /** Makes accounts there. */
  registrationSecret: Secret;
  /** Media that are there. */
  media: readonly { path: string; content: Buffer }[];
}

/** A homeserver that is thrown away, which nobody but Steward can reach. */
export interface ScratchHomeserver {
  /** What keeps it from speaking to anybody, in words. */
  isolation: string;
  /** One request to it; `json` is null where the answer is none. */
  ask(request: {
    method: 'GET' | 'POST';
    path: string;
    token?: Secret;
    body?: Readonly<Record<string, unknown>>;
  }): Promise<{ status: number; json: unknown; content: Buffer }>;
  /** Ends it, and removes all that it had; may be called twice. */
  close(): Promise<void>;
}

/** Which databases of one restore there are. */
export interface RestoreDatabases {
  /** The one that the homeserver uses. */
  live: boolean;
  /** What was loaded, beside it. */
  prepared: boolean;
  /** What was live before. */
  kept: boolean;
}

/** A file of a restore that would take the place of one of the homeserver's. */
export interface StagedFile {
  path: string;
  /** What the homeserver has there now. */
  live: 'same' | 'other' | 'none';
}

/** One that is held aside for a restore, beside what is at its place now. */
export interface HeldFile extends StagedFile {
  /** What was live is kept for it: it is in place. */
  isReplaced: boolean;
}

/** Room on a disk. */
export interface Space {
  /** A folder on it, or a server of a database. */
  place: string;
  /** Bytes that are taken, with what is to stay free. */
  needed: number;
  /** Null where it cannot be told. */
  free: number | null;
  /** A line that lets Steward tell it, where that is all that is missing. */
  grant: string | null;
}

/** To the restored side, or back. */
export type Direction = 'in' | 'out';

/**
 * What a restore does where the homeserver runs. `id` names all that belongs to one restore. Every method may be called again,
 * also after it was cut off, and then finishes what is missing; what is done already stays done. Nothing of the live homeserver
 * is touched but by `swapDatabase`, `swapFiles`, `addMedia` and `takeMediaBack`. Failures are of the families `stack` and `restore`.
 */
export interface RestorePlace {
  /**
   * Loads zstd frames into a new database beside the live one, in place of what an earlier try left. The one-time keys are none.
   *
   * @returns names of the live database's settings that the new one could not be given
   * @throws Failure `backup.unreadable`, `restore.no-space`
   */
  load(id: string, format: LoadFormat, data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string[]>;
  /** A view of what was loaded. */
  openPrepared(id: string): Promise<Snapshot>;
  databases(id: string): Promise<RestoreDatabases>;
  /** Makes the loaded database the live one, keeping that; or back. At once or not at all; sessions are ended, and refused until it is done. */
  swapDatabase(id: string, direction: Direction): Promise<void>;
  dropDatabase(id: string, which: 'prepared' | 'kept'): Promise<void>;
  /** Size and hash of a live media file; null when there is none. */
  mediaFile(path: string): Promise<Omit<MediaFile, 'path'> | null>;
  /**
   * Unpacks files of a tar of media beside the live ones.
   *
   * @param wanted by path and size, those to take
   * @returns what was taken, hashed on its way
   * @throws Failure `restore.unsafe-name` for a name that is none of a media file, or one that is there twice
   */
  stageMedia(
    id: string,
    tar: AsyncIterable<Uint8Array>,
    wanted: (path: string, bytes: number) => boolean,
    signal: AbortSignal,
  ): Promise<MediaFile[]>;
  /** Puts the unpacked media among the live ones; a file that is another there is kept aside. */
  addMedia(id: string): Promise<void>;
  takeMediaBack(id: string): Promise<void>;
  /**
   * Unpacks a tar as `tarFiles` makes it, aside; its only file for `to`, where that is given. A file that is none of the homeserver's
   * is left out; of its configuration, the places of database, media and key stay those of today.
   *
   * @throws Failure `restore.unsafe-name` for a link, a device, a name that leads out, one that is there twice or is far too large
   */
  stageFiles(id: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal, to?: string): Promise<StagedFile[]>;
  /** Holds this content aside for one of the homeserver's own files, as `stageFiles` does. */
  stageFile(id: string, path: string, content: Buffer): Promise<StagedFile>;
  /** One file that was unpacked. */
  readStaged(id: string, path: string): Promise<Buffer | null>;
  /** All that is held aside of files, as it compares now. */
  heldFiles(id: string): Promise<HeldFile[]>;
  /** Puts the unpacked files in the place of the homeserver's, keeping those; or back. */
  swapFiles(id: string, direction: Direction): Promise<void>;
  /** Removes all files and media that this restore has aside, not what is live. */
  dropFiles(id: string): Promise<void>;
  /** What loading a database takes, and what there is. @param bytes of that database where it was backed up */
  databaseSpace(bytes: number): Promise<Space>;
  mediaSpace(bytes: number): Promise<Space>;
}

/** Matrix Authentication Service, which has the accounts of the homeserver. */
export interface Delegation {
  /** Where the homeserver reaches it. */
  endpoint: string;
  /** What each shows the other. */
  secret: Secret;
}

/**
 * The place where the homeserver runs. Reading may be repeated at will; `restart`, `stop` and `start` may be called twice.
 * Failures are of the family `stack`.
 */
export interface Stack {
  readonly kind: 'host';
  facts(): Promise<StackFacts>;
  databaseFacts(): Promise<DatabaseFacts>;
  capabilities(): Promise<Capability[]>;
  components(): Promise<ComponentStatus[]>;
  /** The last lines of a component's log. */
  logs(component: string, lines: number): Promise<string>;
  /** Resolves when the restart was taken; whether it runs again is for `components` to say. */
  restart(component: string, signal: AbortSignal): Promise<void>;
  /** Resolves when it does not run any more. */
  stop(component: string, signal: AbortSignal): Promise<void>;
  /** Resolves when the start was taken. */
  start(component: string, signal: AbortSignal): Promise<void>;
  readonly restores: RestorePlace;
  /** The homeserver's registration_shared_secret, which makes accounts; null where it has none. */
  registrationSecret(): Promise<Secret | null>;
  /** Null where the homeserver has its accounts itself, and where Steward cannot read what it shares with who has them. */
  delegation(): Promise<Delegation | null>;
  dumpDatabase(signal: AbortSignal): Promise<DatabaseDump>;
  /** Throws where the database of Matrix Authentication Service that Steward knows cannot be reached. */
  assertMas(): Promise<void>;
  /** The same of the database of Matrix Authentication Service; null where there is none that Steward knows. */
  dumpMas(signal: AbortSignal): Promise<MasDump | null>;
  openSnapshot(): Promise<Snapshot>;
  /**
   * A tar of the content and the thumbnails of media; what is no id, or is not there, is left out.
   *
   * @param mediaPath as `facts` gives it
   */
  tarMedia(mediaPath: string, ids: AsyncIterable<string>, signal: AbortSignal): MediaStream;
  /** A tar of whole files by absolute path, mode and owner kept; a path without a file is left out. */
  tarFiles(paths: readonly string[], signal: AbortSignal): SourceStream;
  /** One whole file as it is. */
  readFile(path: string): Promise<Buffer>;
  /**
   * Reads a dump to its end without loading it. Throws `backup.unreadable`.
   *
   * @param major of the server that was dumped; null for SQLite
   */
  readDump(format: DatabaseDump['format'], data: AsyncIterable<Uint8Array>, major: number | null, signal: AbortSignal): Promise<void>;
  /**
   * An empty database to load a dump into; null with the reason where none can be had.
   *
   * @param of the database that was dumped
   */
  openScratch(
    format: DatabaseDump['format'],
    of: Pick<DatabaseFacts, 'major' | 'bytes'>,
    signal: AbortSignal,
  ): Promise<{ scratch: ScratchDatabase } | { scratch: null; reason: string }>;
  /**
   * What is missing for a homeserver to be started on a scratch database, in words; null when nothing is.
   *
   * @throws Failure `stack.no-isolation` where it could not be kept from the network
   */
  missingForBoot(format: DatabaseDump['format'], major: number | null): Promise<string | null>;
}
