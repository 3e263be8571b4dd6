import { createHash, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { secondsSince, type Clock } from '../clock.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import type { DatabaseDump, DatabaseSource, DatabaseFacts, Stack, StackFacts } from '../stack/stack.ts';
import { ownOutput } from '../stack/stream.ts';
import type { BackupStore, EpochRow, PackRow } from '../store/backups.ts';
import type { Log } from '../telemetry/log.ts';
import type { FileKey } from './age-payload.ts';
import type { Destination } from './destinations/destination.ts';
import { FanOut, type Lost } from './fan-out.ts';
import { assertHeld } from './held.ts';
import type { EpochKeys } from './keys.ts';
import { loseObjects } from './lost-objects.ts';
import {
  objectsOf,
  publicOf,
  signRecord,
  type Manifest,
  type ManifestObject,
  type MediaChecked,
  type Proof,
  type StoredAs,
} from './manifest.ts';
import { backUpMas, masLeftOut, proveMas, type SealedMas } from './mas.ts';
import { checkAllMedia, isCheckDue } from './media-check.ts';
import { backUpMedia, type MediaRun } from './media.ts';
import { opened, sealInto, type SealedObject } from './object.ts';
import { ownTar, type OwnPart } from './own.ts';
import { tellOfDump, type Tell } from './progress.ts';
import { compare, fingerprint, heldOf, noScratch, sequencesOf, type Fingerprint } from './prove.ts';
import { putRescueSheet, rescueFacts, rescueText } from './rescue.ts';
import { assertSpace, type Needed } from './space.ts';
import { restoreText } from './restore-text.ts';
import { hashOf } from './verify.ts';

export interface CreateOptions {
  id: string;
  destinations: readonly Destination[];
  /** Those of the configuration, which the rescue sheet names. */
  all: readonly Destination[];
  /** What it comes to in a destination, as far as that can be told. */
  needed: (destination: Destination) => Promise<Needed>;
  stack: Stack;
  /** The stack itself, or what else guards the database. */
  source: DatabaseSource;
  store: BackupStore;
  keys: EpochKeys;
  signer: KeyObject;
  clock: Clock;
  log: Log;
  /** Steward's own configuration file, which goes with the rest. */
  configPath: string;
  /** Steward itself. */
  own: OwnPart;
  version: string;
  /** Look at all media and at all packs, also where that is not due. */
  allMedia: boolean;
  signal: AbortSignal;
  tell: Tell;
}

/** Rows that must not come back, and what others still have. */
const excluded = ['e2e_one_time_keys_json', 'remote_content', 'remote_thumbnails', 'url_cache'];

const nothingCounted: Fingerprint = { rows: new Map(), schema: [], sequences: new Map() };
const fileNames = { pg_dump: 'synapse.dump.zst', sqlite: 'homeserver.db.zst', engine: 'engine.json' } as const;

interface Made {
  database: ManifestObject;
  fileKey: FileKey;
  format: DatabaseDump['format'];
  facts: DatabaseFacts;
  /** Destinations whose media are all to be looked at. */
  due: readonly Destination[];
  media: MediaRun;
  /** What the database held; taken beside the copying of the rest. */
  live: Promise<Fingerprint>;
  /** Of Matrix Authentication Service; null where its database is not in the backup. */
  mas: SealedMas | null;
  /** What was written last in each destination. */
  manifests: ReadonlyMap<Destination, { manifest: Manifest; text: string }>;
}

/**
 * Makes a backup in each destination from one dump, and proves it. Until its manifest is there, which is put last, whatever
 * fails takes everything of it away. A destination that fails does so alone.
 *
 * @returns the destinations that failed: before the manifest nothing is left there; after it, the backup is there and not proven
 * @throws Failure `backup.*`, `stack.*`, where it is in no destination; `backup.not-proven` when it is there and does not hold
 * what the database held
 */
export async function createBackup(options: CreateOptions): Promise<Lost[]> {
  const { id, destinations, store, clock, signal } = options;
  const fan = new FanOut(destinations);
  const manifests = new Map<Destination, { manifest: Manifest; text: string }>();
  const takeAway = async (): Promise<void> => {
    const begun = destinations.filter((destination) => store.get(id, destination.name)?.state === 'making');
    for (const destination of begun)
      // What cannot be taken away now is by the next run.
      await discard(id, destination, store).catch(() => undefined);
  };
  let made: Made;
  try {
    await fan.each(async (destination) => {
      await assertHeld(destination, store, `back up to ${destination.name}`);
      await removeUnfinished(destination, store);
      await assertSpace(destination, await options.needed(destination), `back up to ${destination.name}`);
      store.begin(id, destination.name, clock.now());
    });
    made = await make(options, fan, manifests);
  } catch (error) {
    await takeAway();
    signal.throwIfAborted();
    throw fan.left().length === 0 && fan.lost.length > 1
      ? nowhere(
          `make ${id} in any destination`,
          fan.lost.map(({ cause }) => cause),
        )
      : error;
  }
  await takeAway();
  try {
    await prove(options, fan, made);
  } catch (error) {
    throw error instanceof Failure && fan.lost.length > 0 ? withLost(error, fan.lost) : error;
  }
  return fan.lost;
}

/** The failure, saying which destinations had failed before it. */
function withLost(failure: Failure, lost: readonly Lost[]): Failure {
  const told = lost.map(({ destination, cause }) => `${destination.name}: ${asFailure(cause).reason}`);
  const { id, attempted, reason, hint, cause } = failure;
  return new Failure(id, { ...(attempted === undefined ? {} : { attempted }), reason: [reason, ...told].join('; '), hint, cause });
}

/** As the first of them, saying what each said. */
export function nowhere(attempted: string, causes: readonly unknown[]): Failure {
  const failures = causes.map(asFailure);
  const [first = asFailure(null)] = failures;
  return new Failure(first.id, { attempted, reason: failures.map(({ message }) => message).join('; '), hint: first.hint, cause: first });
}

/** What a Steward that was killed has left: begun by this store, and without a manifest. */
export async function removeUnfinished(destination: Destination, store: BackupStore): Promise<void> {
  for (const { id, destination: name } of store.list('making')) if (name === destination.name) await discard(id, destination, store);
}

async function discard(id: string, destination: Destination, store: BackupStore): Promise<void> {
  // What has a manifest is a backup: that goes first.
  await destination.remove(`${id}/manifest.json`);
  await destination.clear(`${id}/`);
  store.forget(id, destination.name);
}

async function make(options: CreateOptions, fan: FanOut, manifests: Map<Destination, { manifest: Manifest; text: string }>): Promise<Made> {
  const { id, stack, store, keys, signer, clock, version, signal, tell } = options;
  const startedAt = clock.now();
  const epoch = await keys.current();
  const facts = await stack.facts();
  const databaseFacts = await stack.databaseFacts();
  // Hours of dumping are not for nothing.
  await stack.assertMas();
  const before = await sequencesBefore(stack, facts);
  const due = fan.left().filter((destination) => options.allMedia || isCheckDue(store, destination, startedAt));
  const databaseAt = clock.now();
  const dump = await options.source.dumpDatabase(signal);
  let sealed: SealedObject;
  try {
    const name = `${id}/database/${fileNames[dump.format]}.age`;
    const dumped = new AbortController();
    const telling = tellOfDump(dump, tell, clock, dumped.signal);
    try {
      sealed = await sealInto(fan.to(), name, dump.stream, [epoch.recipient]);
    } finally {
      dumped.abort();
      await telling;
    }
    const database = objectOf('database', name, epoch, [...dump.pipeline, 'age'], sealed);
    // The view of the database is given back as soon as it is counted, which runs beside what follows.
    const live = (dump.format === 'engine' ? Promise.resolve(nothingCounted) : fingerprint(dump.snapshot, dump.format))
      .then((found) => ({ ...found, sequences: before }))
      .finally(() => dump.snapshot.close());
    live.catch(() => undefined);
    const mas = await backUpMas(options, fan.to(), epoch.recipient);
    const media = await backUpMedia({ ...options, fan, epoch, mediaPath: facts.mediaPath, schemaVersion: databaseFacts.schemaVersion });
    tell('keys, configuration and secrets');
    const files = await backUpFiles(options, fan, epoch, facts);
    const source = { stewardVersion: version, signer: publicOf(signer), epochs: keys.all(), destinations: options.all, own: options.own };
    const rescue = rescueText(rescueFacts({ ...source, configPath: options.configPath }, facts, databaseFacts));
    await fan.each(async (destination) => {
      const packs = store.packs(destination.name);
      const ofMas = mas === null ? [] : [objectOf('mas-database', mas.name, epoch, mas.pipeline, mas.sealed)];
      const objects = [database, ...ofMas, ...packs.flatMap(packObjects), ...files];
      const epochs = await putEpochs(destination, id, keys, objects);
      const [last] = store.list('complete').filter((row) => row.destination === destination.name);
      const { newFiles, newBytes, missing, wrong, examples } = media.of(destination);
      const manifest: Omit<Manifest, 'signer' | 'signature'> = {
        format: 'steward/backup/1',
        id,
        server: {
          name: facts.serverName,
          database: { kind: dump.format, ...databaseFacts, ...(dump.engine === undefined ? {} : { engine: dump.engine }) },
          ...(mas === null ? {} : { mas: mas.facts }),
        },
        startedAt: new Date(startedAt).toISOString(),
        databaseAt: new Date(databaseAt).toISOString(),
        finishedAt: new Date(clock.now()).toISOString(),
        objects,
        epochs,
        media: {
          files: packs.reduce((sum, pack) => sum + pack.files, 0),
          bytes: packs.reduce((sum, pack) => sum + pack.source.bytes, 0),
          ...{ newFiles, newBytes, missing, wrong, examples },
          elsewhere: [...facts.storageProviders],
        },
        excluded: [...excluded, ...(facts.delegated && mas === null ? [masLeftOut] : [])],
        ...(facts.absentFiles.length === 0 ? {} : { absent: [...facts.absentFiles] }),
        tool: { steward: version, node: process.version },
        previous: last?.manifest ?? null,
      };
      await putRescueSheet(destination, rescue, keys.all());
      await destination.put(`${id}/RESTORE.txt`, once(restoreText(manifest, facts)));
      const { record, text } = signRecord<Manifest>(manifest, signer);
      signal.throwIfAborted();
      await destination.put(`${id}/manifest.json`, once(text));
      const added = objects.filter(({ name: object }) => object.startsWith(`${id}/`)).reduce((sum, object) => sum + object.stored.bytes, 0);
      store.transaction(() => {
        store.complete({
          ...{ id, destination: destination.name, finishedAt: clock.now(), databaseAt, bytes: added },
          manifest: hashOfText(text),
          epochs: epochs.map(({ name }) => name),
        });
        if (media.until !== null) store.setMediaUntil(destination.name, media.until);
        if (media.of(destination).checked !== null) store.setMediaChecked(destination.name, startedAt);
      });
      manifests.set(destination, { manifest: record, text });
    });
    return { manifests, database, fileKey: sealed.fileKey, format: dump.format, facts: databaseFacts, due, media, live, mas };
  } catch (error) {
    dump.stream.abort();
    await dump.snapshot.close();
    throw error;
  }
}

function packObjects(pack: PackRow): ManifestObject[] {
  const { epoch, index } = pack;
  return [
    { role: 'media', name: pack.name, epoch, pipeline: ['tar', 'age'], source: pack.source, stored: pack.stored },
    { role: 'media-index', name: index.name, epoch, pipeline: ['JSON lines', 'age'], source: index.source, stored: index.stored },
  ];
}

/** A sequence has no view of its own: a dump made later has the same value or a later one. */
async function sequencesBefore(stack: Stack, facts: StackFacts): Promise<Map<string, bigint>> {
  if (facts.database.kind === 'sqlite') return new Map();
  const view = await stack.openSnapshot();
  try {
    return await sequencesOf(view);
  } finally {
    await view.close();
  }
}

async function backUpFiles(
  { id, stack, configPath, own, signal }: CreateOptions,
  fan: FanOut,
  epoch: EpochRow,
  facts: StackFacts,
): Promise<ManifestObject[]> {
  // That these are there is what a restore stands on.
  for (const path of [facts.signingKeyPath, ...facts.configFiles]) await stack.readFile(path);
  const configPaths = [...facts.configFiles, ...facts.includedFiles, configPath];
  const parts = [
    { role: 'signing-key' as const, name: `${id}/keys/signing-key.tar.age`, source: () => stack.tarFiles([facts.signingKeyPath], signal) },
    { role: 'config' as const, name: `${id}/config/config.tar.age`, source: () => stack.tarFiles(configPaths, signal) },
    { role: 'secrets' as const, name: `${id}/secrets/secrets.tar.age`, source: () => stack.tarFiles(facts.secretFiles, signal) },
    { role: 'steward' as const, name: `${id}/steward/steward.tar.age`, source: () => ownOutput('steward', () => ownTar(own, id), signal) },
  ];
  const objects: ManifestObject[] = [];
  for (const { role, name, source } of parts) {
    const sealed = await sealInto(fan.to(), name, source(), [epoch.recipient]);
    objects.push(objectOf(role, name, epoch, ['tar', 'age'], sealed));
  }
  return objects;
}

/** Each backup has the sealed keys of all epochs that its objects need, so that it can be opened by itself. */
async function putEpochs(
  destination: Destination,
  id: string,
  keys: EpochKeys,
  objects: readonly ManifestObject[],
): Promise<Manifest['epochs']> {
  const needed = new Set(objects.map(({ epoch }) => epoch));
  const put: Manifest['epochs'] = [];
  for (const { name, recipient, sealed } of keys.all()) {
    if (!needed.has(name)) continue;
    const object = `${id}/keys/epoch-${name}.age`;
    put.push({ name, recipient, object, stored: await destination.put(object, once(sealed)) });
  }
  return put;
}

/**
 * Content: what was stored, opened by the file's key that is still in memory, is loaded into a database that is thrown away
 * and compared with what the database held. Object: what this backup added is read again and hashed, in each destination.
 */
async function prove(options: CreateOptions, fan: FanOut, made: Made): Promise<void> {
  const { manifests, database, fileKey, format, facts, due, live } = made;
  const { id, stack, store, signer, clock, log, signal, tell } = options;
  const started = clock.monotonic();
  tell('what was stored is read again');
  await fan.each(async (destination) => {
    const { manifest } = manifests.get(destination) ?? { manifest: null };
    for (const object of manifest === null ? [] : objectsOf(manifest))
      if (due.includes(destination) || object.name.startsWith(`${id}/`)) await hashStored(options, destination, object);
    store.setObject(id, destination.name, 1, clock.now());
  });
  const held = await live;
  const [source] = fan.left();
  if (source === undefined) throw new TypeError('a backup that is proven is in a destination');
  const data = (): AsyncIterable<Uint8Array> => opened(source.get(database.name), () => Promise.resolve(fileKey.key));
  const content: Proof['content'] = { level: 1, tables: 0, rows: 0, seconds: 0, missing: null };
  tell('the dump is loaded and compared with the database');
  const place = await options.source.openScratch(format, facts, signal).catch((error: unknown) => noScratch(error, signal));
  let missing = place.scratch === null ? place.reason : null;
  if (place.scratch !== null) {
    const { scratch } = place;
    try {
      await scratch.load(data(), signal);
      Object.assign(content, { level: 3, ...(await compare(scratch, held, format === 'sqlite' ? 'sqlite' : 'pg_dump')) });
    } catch (error) {
      missing = noScratch(error, signal).reason;
    } finally {
      await scratch.close();
    }
  }
  if (missing !== null) {
    await options.source.readDump(format, data(), facts.major, signal);
    // Of what an engine holds there is nothing to read.
    Object.assign(content, { level: format === 'engine' ? 1 : 2, missing });
  }
  const mas = made.mas === null ? null : await proveMas(made.mas, source, options);
  if (mas !== null) {
    if (mas.missing === null) Object.assign(content, { mas: mas.proven });
    else Object.assign(content, { level: Math.min(content.level, 2), missing: content.missing ?? mas.missing });
  }
  const checked = fan.left(due);
  if (checked.length > 0) tell('all media are compared with the database');
  const media =
    checked.length > 0
      ? await checkAllMedia({ stack, store, destinations: checked, schemaVersion: facts.schemaVersion, signal })
      : comparedAsCopied(made.media, fan.left());
  if (media !== null) {
    const faults = media.missing + media.wrong;
    Object.assign(content, { media });
    if (faults === 0 && content.level === 3) content.level = 4;
    else if (faults > 0)
      content.missing ??= `${media.missing} of ${media.media} media have no file, ${media.wrong} another one than the database says (${media.examples.slice(0, 5).join(', ')})`;
  }
  const seconds = secondsSince(clock, started);
  await fan.each(async (destination) => {
    const record: Omit<Proof, 'signer' | 'signature'> = {
      format: 'steward/proof/1',
      id,
      manifest: hashOfText(manifests.get(destination)?.text ?? ''),
      at: new Date(clock.now()).toISOString(),
      content: { ...content, seconds, held: heldOf(held) },
      object: { level: 1 },
    };
    await destination.put(`${id}/proof.json`, once(signRecord<Proof>(record, signer).text));
    store.setContent(id, destination.name, content.level, clock.now());
    if (checked.includes(destination)) store.setMediaChecked(destination.name, clock.now());
    log.info('a backup was proven', {
      state: `content ${content.level}`,
      duration_ms: Math.round(seconds * 1000),
      file: join(destination.place, id),
    });
  });
}

/** What the copying has found, where all media were new in each destination; else null: those that are held already were not looked at. */
function comparedAsCopied(media: MediaRun, destinations: readonly Destination[]): MediaChecked | null {
  const checked = destinations.map((destination) => media.of(destination).checked);
  return checked.includes(null) ? null : (checked[0] ?? null);
}

/** @throws Failure `backup.damaged`; a pack that is, the next backup makes anew from live media */
async function hashStored(options: CreateOptions, destination: Destination, { name, stored }: StoredAs): Promise<void> {
  try {
    await hashOf(destination, name, stored, options.signal);
  } catch (error) {
    if (error instanceof Failure && error.id === 'backup.damaged') {
      // A destination that fails meanwhile does not hide what was found.
      await loseObjects([name], { ...options, destination }).catch(() => undefined);
    }
    throw error;
  }
}

function objectOf(
  role: ManifestObject['role'],
  name: string,
  epoch: EpochRow,
  pipeline: string[],
  { source, stored }: SealedObject,
): ManifestObject {
  return { role, name, epoch: epoch.name, pipeline, source: { bytes: source.bytes, sha256: source.sha256 }, stored };
}

export async function* once(content: string | Buffer): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from(content));
}

export const hashOfText = (text: string): string => createHash('sha256').update(text).digest('hex');
