import { createHash, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { DatabaseDump, Stack, StackFacts } from '../stack/stack.ts';
import type { BackupStore, EpochRow } from '../store/backups.ts';
import type { Log } from '../telemetry/log.ts';
import type { FileKey } from './age.ts';
import type { Destination } from './destinations/destination.ts';
import type { EpochKeys } from './keys.ts';
import { signRecord, type Manifest, type ManifestObject, type Proof } from './manifest.ts';
import { backUpMedia } from './media.ts';
import { opened, sealInto, type SealedObject } from './object.ts';
import { compare, fingerprint, sequencesOf, type Fingerprint } from './prove.ts';
import { restoreText } from './restore-text.ts';
import { hashOf } from './verify.ts';

export interface CreateOptions {
  id: string;
  destination: Destination;
  stack: Stack;
  store: BackupStore;
  keys: EpochKeys;
  signer: KeyObject;
  clock: Clock;
  log: Log;
  /** Steward's own configuration file, which goes with the rest. */
  configPath: string;
  version: string;
  signal: AbortSignal;
}

/** Rows that must not come back, and what others still have. */
const excluded = ['e2e_one_time_keys_json', 'remote_content', 'remote_thumbnails', 'url_cache'];

interface Made {
  manifest: Manifest;
  text: string;
  database: ManifestObject;
  fileKey: FileKey;
  format: DatabaseDump['format'];
  /** What the database held; taken beside the copying of the rest. */
  live: Promise<Fingerprint>;
}

/**
 * Makes a backup and proves it. Until the manifest is there, which is put last, whatever fails takes everything of it away.
 *
 * @throws Failure `backup.*`, `stack.*`; `backup.not-proven` when the backup is there and does not hold what the database held
 */
export async function createBackup(options: CreateOptions): Promise<void> {
  const { id, destination, store, clock, signal } = options;
  await removeUnfinished(destination, store);
  store.begin(id, destination.name, clock.now());
  let made: Made;
  try {
    made = await make(options);
  } catch (error) {
    await destination.clear(`${id}/`);
    store.forget(id, destination.name);
    signal.throwIfAborted();
    throw error;
  }
  await prove(options, made);
}

/** What a Steward that was killed has left: begun by this store, and without a manifest. */
export async function removeUnfinished(destination: Destination, store: BackupStore): Promise<void> {
  for (const { id, destination: name } of store.list('making')) {
    if (name !== destination.name) continue;
    await destination.clear(`${id}/`);
    store.forget(id, name);
  }
}

async function make(options: CreateOptions): Promise<Made> {
  const { id, destination, stack, store, keys, signer, clock, version, signal } = options;
  const startedAt = clock.now();
  const epoch = await keys.current();
  const facts = await stack.facts();
  const databaseFacts = await stack.databaseFacts();
  const before = await sequencesBefore(stack, facts);
  const databaseAt = clock.now();
  const dump = await stack.dumpDatabase(signal);
  let sealed: SealedObject;
  try {
    const name = `${id}/database/${dump.format === 'pg_dump' ? 'synapse.dump' : 'homeserver.db'}.zst.age`;
    sealed = await sealInto(destination, name, dump.stream, [epoch.recipient]);
    const database = objectOf('database', name, epoch, [...dump.pipeline, 'age'], sealed);
    // The view of the database is given back as soon as it is counted, which runs beside what follows.
    const live = fingerprint(dump.snapshot, dump.format)
      .then((found) => ({ ...found, sequences: before }))
      .finally(() => dump.snapshot.close());
    live.catch(() => undefined);
    const media = await backUpMedia({ ...options, epoch, mediaPath: facts.mediaPath, schemaVersion: databaseFacts.schemaVersion });
    const files = await backUpFiles(options, epoch, facts);
    const packs = store.packs(destination.name);
    const objects: ManifestObject[] = [
      database,
      ...packs.flatMap((pack): ManifestObject[] => [
        { role: 'media', name: pack.name, epoch: pack.epoch, pipeline: ['tar', 'age'], source: pack.source, stored: pack.stored },
        {
          role: 'media-index',
          name: pack.index.name,
          epoch: pack.epoch,
          pipeline: ['JSON lines', 'age'],
          source: pack.index.source,
          stored: pack.index.stored,
        },
      ]),
      ...files,
    ];
    const epochs = await putEpochs(destination, id, keys, objects);
    const [last] = store.list('complete').filter((row) => row.destination === destination.name);
    const manifest: Omit<Manifest, 'signer' | 'signature'> = {
      format: 'steward/backup/1',
      id,
      server: { name: facts.serverName, database: { kind: dump.format, ...databaseFacts } },
      startedAt: new Date(startedAt).toISOString(),
      databaseAt: new Date(databaseAt).toISOString(),
      finishedAt: new Date(clock.now()).toISOString(),
      objects,
      epochs,
      media: {
        files: packs.reduce((sum, pack) => sum + pack.files, 0),
        bytes: packs.reduce((sum, pack) => sum + pack.source.bytes, 0),
        newFiles: media.newFiles,
        newBytes: media.newBytes,
        missing: media.missing,
        wrong: media.wrong,
        examples: media.examples,
        elsewhere: [...facts.storageProviders],
      },
      excluded,
      tool: { steward: version, node: process.version },
      previous: last?.manifest ?? null,
    };
    await destination.put(`${id}/RESTORE.txt`, once(restoreText(manifest)));
    const { record, text } = signRecord<Manifest>(manifest, signer);
    signal.throwIfAborted();
    await destination.put(`${id}/manifest.json`, once(text));
    const added = objects.filter(({ name: object }) => object.startsWith(`${id}/`)).reduce((sum, object) => sum + object.stored.bytes, 0);
    store.transaction(() => {
      store.complete({ id, destination: destination.name, finishedAt: clock.now(), databaseAt, bytes: added, manifest: hashOfText(text) });
      if (media.until !== null) store.setMediaUntil(destination.name, media.until);
    });
    return { manifest: record, text, database, fileKey: sealed.fileKey, format: dump.format, live };
  } catch (error) {
    dump.stream.abort();
    await dump.snapshot.close();
    throw error;
  }
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
  { id, destination, stack, configPath, signal }: CreateOptions,
  epoch: EpochRow,
  facts: StackFacts,
): Promise<ManifestObject[]> {
  // That these are there is what a restore stands on.
  for (const path of [facts.signingKeyPath, ...facts.configFiles]) await stack.readFile(path);
  const parts = [
    { role: 'signing-key' as const, name: `${id}/keys/signing-key.tar.age`, paths: [facts.signingKeyPath] },
    { role: 'config' as const, name: `${id}/config/config.tar.age`, paths: [...facts.configFiles, ...facts.includedFiles, configPath] },
    { role: 'secrets' as const, name: `${id}/secrets/secrets.tar.age`, paths: facts.secretFiles },
  ];
  const objects: ManifestObject[] = [];
  for (const { role, name, paths } of parts) {
    const sealed = await sealInto(destination, name, stack.tarFiles(paths, signal), [epoch.recipient]);
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
 * and compared with what the database held. Object: what this backup added is read again and hashed.
 */
async function prove(options: CreateOptions, { manifest, text, database, fileKey, format, live }: Made): Promise<void> {
  const { id, destination, stack, store, signer, clock, log, signal } = options;
  const started = clock.monotonic();
  const own = [...manifest.objects, ...manifest.epochs.map(({ object, stored }) => ({ name: object, stored }))].filter(({ name }) =>
    name.startsWith(`${id}/`),
  );
  for (const { name, stored } of own) await hashOf(destination, name, stored, signal);
  store.setObject(id, destination.name, 1, clock.now());
  const held = await live;
  const data = (): AsyncIterable<Uint8Array> => opened(destination.get(database.name), () => Promise.resolve(fileKey.key));
  const content = { level: 1, tables: 0, rows: 0, missing: null as string | null };
  const place = await stack.openScratch(format, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    if (!(error instanceof Failure) || error.id !== 'stack.scratch-failed') throw error;
    return { scratch: null, reason: error.reason };
  });
  if (place.scratch === null) {
    await stack.readDump(format, data(), signal);
    Object.assign(content, { level: 2, missing: place.reason });
  } else {
    const { scratch } = place;
    try {
      await scratch.load(data(), signal);
      Object.assign(content, { level: 3, ...(await compare(scratch, held, format)) });
    } finally {
      await scratch.close();
    }
  }
  const seconds = Math.round((clock.monotonic() - started) / 100) / 10;
  const record: Omit<Proof, 'signer' | 'signature'> = {
    format: 'steward/proof/1',
    id,
    manifest: hashOfText(text),
    at: new Date(clock.now()).toISOString(),
    content: { ...content, seconds },
    object: { level: 1 },
  };
  await destination.put(`${id}/proof.json`, once(signRecord<Proof>(record, signer).text));
  store.setContent(id, destination.name, content.level, clock.now());
  log.info('a backup was proven', {
    state: `content ${content.level}`,
    duration_ms: Math.round(seconds * 1000),
    file: join(destination.place, id),
  });
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
