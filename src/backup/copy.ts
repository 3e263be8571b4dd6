import { createHash, type KeyObject } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import type { BackupStore } from '../store/backups.ts';
import { hashOfText, once } from './create.ts';
import type { Destination } from './destinations/destination.ts';
import { objectsOf, signRecord, type Manifest, type Proof, type StoredAs } from './manifest.ts';
import { removeBackups } from './prune.ts';
import { assertHeld } from './held.ts';
import { rescueFolder, rescueSheet } from './rescue.ts';
import { hashOf, objectProofOf, readManifest, readProof } from './verify.ts';

export interface CopyOptions {
  id: string;
  /** Where it is, the best first. */
  sources: readonly Destination[];
  target: Destination;
  store: BackupStore;
  signer: KeyObject;
  clock: Clock;
  signal: AbortSignal;
  /** Told what is being done, in words. */
  progress: (words: string) => void;
}

/**
 * Takes a backup to another destination, byte for byte, no key needed: each object is hashed on its way and read again there;
 * the manifest is put last. What a kill has cut off is gone on with by the same call; what fails is taken away again. Where
 * the target has the backup already, what is missing or damaged of it is put again.
 *
 * @returns how many objects and bytes were copied; what was there already is read, and not copied
 * @throws Failure `backup.*`
 */
export async function copyBackup(options: CopyOptions): Promise<{ objects: number; bytes: number }> {
  const { id, target, store, signal } = options;
  const isThereAlready = store.get(id, target.name)?.state === 'complete';
  try {
    return await copy(options, isThereAlready);
  } catch (error) {
    // What cannot be taken away now is by the next prune.
    if (store.get(id, target.name)?.state === 'copying')
      await removeBackups([], { ...options, destination: target, signal: never }).catch(() => undefined);
    signal.throwIfAborted();
    throw asFailure(error).whileAttempting(`copy ${id} to ${target.name}`);
  }
}

const never = new AbortController().signal;

async function copy(options: CopyOptions, isThereAlready: boolean): Promise<{ objects: number; bytes: number }> {
  const { id, target, store, clock, signal, progress } = options;
  const { source, manifest, text } = await manifestOf(options, isThereAlready);
  const objects = objectsOf(manifest);
  await assertHeld(target, store, `copy ${id} to ${target.name}`);
  store.transaction(() => {
    if (!isThereAlready) store.beginCopy(id, target.name, Date.parse(manifest.startedAt));
    for (const folder of new Set(objects.map(({ name }) => folderOf(name))))
      if (folder !== id) store.addFolder(folder, target.name, clock.now());
  });
  const copied = { objects: 0, bytes: 0 };
  for (const [n, object] of objects.entries()) {
    signal.throwIfAborted();
    progress(`object ${n + 1} of ${objects.length}`);
    if (await isWhole(target, object, signal)) continue;
    await copyObject(options, object);
    copied.objects += 1;
    copied.bytes += object.stored.bytes;
  }
  if (source !== target) {
    // Beside the manifest: what was proven of it, and how it is restored by hand.
    const named = new Set([...objects.map(({ name }) => name), `${id}/manifest.json`]);
    // What opening it there has shown is true of that place alone.
    named.add(objectProofOf(id));
    for await (const { name } of source.list(`${id}/`))
      if (!named.has(name) && folderOf(name.slice(id.length + 1)) !== 'media') await target.put(name, source.get(name));
    // The sheet is the same everywhere; what the target has is no older.
    for await (const { name } of source.list(rescueFolder))
      if ((await target.size(name)) === null) await target.put(name, source.get(name));
    if ((await target.size(rescueSheet)) === null && (await source.size(rescueSheet)) !== null)
      await target.put(rescueSheet, source.get(rescueSheet));
    signal.throwIfAborted();
    await target.put(`${id}/manifest.json`, once(text));
  }
  if (source === target) await mendProof(options, manifest, text);
  const places = options.sources.map(({ name }) => name);
  store.transaction(() => {
    const known = places.map((name) => store.get(id, name)).find((row) => row !== null);
    store.complete({
      ...{ id, destination: target.name, bytes: addedBytes(manifest), manifest: hashOfText(text) },
      epochs: manifest.epochs.map(({ name }) => name),
      ...{ finishedAt: Date.parse(manifest.finishedAt), databaseAt: Date.parse(manifest.databaseAt) },
    });
    for (const { role, name } of manifest.objects) if (role === 'media') store.copyPack(name, places, target.name);
    if (!isThereAlready && known?.contentLevel != null) store.setContent(id, target.name, known.contentLevel, clock.now());
    store.setObject(id, target.name, 1, clock.now());
  });
  return copied;
}

/** The folder at the top of a destination that an object lies in. */
export const folderOf = (name: string): string => name.split('/')[0] ?? '';

/** Of the objects that a backup added to those of earlier ones. */
export function addedBytes({ id, objects }: Pick<Manifest, 'id' | 'objects'>): number {
  return objects.filter(({ name }) => folderOf(name) === id).reduce((sum, { stored }) => sum + stored.bytes, 0);
}

/**
 * The manifest that is to be true in the target: its own, where it has one; else that of the first place where it can be read.
 *
 * @throws Failure `backup.exists` when the target has another backup under the id; what the first of the places said
 */
async function manifestOf(
  { id, sources, target, signer }: CopyOptions,
  isThereAlready: boolean,
): Promise<{ source: Destination; manifest: Manifest; text: string }> {
  if (isThereAlready) {
    const own = await readManifest(target, id, signer).catch(() => null);
    if (own !== null) return { source: target, ...own };
  }
  let first: unknown;
  for (const source of sources) {
    try {
      const found = await readManifest(source, id, signer);
      if (!isThereAlready && (await target.size(`${id}/manifest.json`)) !== null) await assertSame(target, id, signer, found.text);
      return { source, ...found };
    } catch (error) {
      first ??= error;
    }
  }
  throw first;
}

/**
 * Writes what was proven of the content again, where that cannot be read, by what another place has: the dump is the same there.
 *
 * @throws Failure `backup.damaged`, `backup.foreign` where no place has it
 */
async function mendProof({ id, sources, target, signer }: CopyOptions, manifest: Manifest, text: string): Promise<void> {
  const spoiled = await readProof(target, id, signer, text).then(() => null, asFailure);
  if (spoiled === null) return;
  if (spoiled.id !== 'backup.damaged' && spoiled.id !== 'backup.foreign') throw spoiled;
  for (const source of sources) {
    const there = await readManifest(source, id, signer).catch(() => null);
    if (there === null || dumpOf(there.manifest) !== dumpOf(manifest)) continue;
    const proof = await readProof(source, id, signer, there.text).catch(() => null);
    if (proof === null) continue;
    const { format, at, content, object } = proof;
    const record = { format, id, manifest: hashOfText(text), at, content, object };
    await target.put(`${id}/proof.json`, once(signRecord<Proof>(record, signer).text));
    return;
  }
  throw spoiled;
}

const dumpOf = ({ objects }: Manifest): string | undefined => objects.find(({ role }) => role === 'database')?.source.sha256;

/** A manifest that the catalogue does not know, such as of a copy that was killed at its last step. */
async function assertSame(target: Destination, id: string, signer: KeyObject, text: string): Promise<void> {
  const there = await readManifest(target, id, signer).catch(() => null);
  if (there?.text !== text)
    throw new Failure('backup.exists', { reason: `${target.name} has another backup of that id, which the catalogue does not know` });
}

/** Whether it is in the target; read to its end. */
async function isWhole(target: Destination, { name, stored }: StoredAs, signal: AbortSignal): Promise<boolean> {
  if ((await target.size(name)) !== stored.bytes) return false;
  try {
    await hashOf(target, name, stored, signal);
    return true;
  } catch (error) {
    if (error instanceof Failure && error.id === 'backup.damaged') return false;
    throw error;
  }
}

/** From the first place that has it whole. @throws what the last of them, or the target, said */
async function copyObject({ sources, target, signal }: CopyOptions, object: StoredAs): Promise<void> {
  let last: unknown;
  for (const source of sources) {
    signal.throwIfAborted();
    try {
      await target.put(object.name, whole(source, object, signal));
      // What lies there is what counts, not what was sent.
      await hashOf(target, object.name, object.stored, signal);
      return;
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

/** @throws Failure `backup.damaged` at the end of what is not what was stored: a put takes nothing of it then */
async function* whole(source: Destination, { name, stored }: StoredAs, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  for await (const chunk of source.get(name)) {
    signal.throwIfAborted();
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest('hex') !== stored.sha256)
    throw new Failure('backup.damaged', { attempted: `read ${name} in ${source.name}`, reason: 'its content is not what was stored' });
}
