import { createHash, type KeyObject } from 'node:crypto';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { z } from 'zod';
import { Failure } from '../failures/failure.ts';
import type { Stack } from '../stack/stack.ts';
import { release, type Arrived } from '../stack/stream.ts';
import type { Destination, Stored } from './destinations/destination.ts';
import {
  manifestShape,
  objectProofShape,
  objectsOf,
  proofShape,
  readRecord,
  type Manifest,
  type ManifestObject,
  type ObjectProof,
  type Proof,
  type StoredAs,
} from './manifest.ts';
import { opened } from './object.ts';
import type { KeyOf } from './opener.ts';

export type ObjectLevel = 0 | 1 | 2 | 3 | 4 | 5;

export interface VerifyOptions {
  id: string;
  destination: Destination;
  stack: Stack;
  signer: KeyObject;
  /** SHA-256 of the manifest as the catalogue knows it, or null. */
  known: string | null;
  level: ObjectLevel;
  /** Objects that other backups in the destination are made of, which may lie in this one's folder. */
  others: () => Promise<ReadonlySet<string>>;
  /** Finds the file key of a header; needed at level 2. */
  keyOf: KeyOf | null;
  /** Roles whose objects are opened by somebody else. */
  apart?: (role: ManifestObject['role']) => boolean;
  /** Told of an object that is not there, or not what was stored. */
  lost: (name: string) => Promise<void>;
  signal: AbortSignal;
}

const recordAtMost = 64 << 20;

/**
 * Looks at what is stored: 0, every object is there with its size, and no other; 1, each is read and hashed; 2 and more, each is
 * opened and its content hashed, and the dump read to its end.
 *
 * @throws Failure `backup.missing`, `backup.damaged`, `backup.unreadable`, `backup.no-key`
 */
export async function verifyObjects(options: VerifyOptions): Promise<{ manifest: Manifest; text: string; proof: Proof | null }> {
  const { id, destination, signer, known, level, lost } = options;
  const { manifest, text } = await readManifest(destination, id, signer);
  const attempted = `verify ${id} in ${destination.name}`;
  if (known !== null && createHash('sha256').update(text).digest('hex') !== known)
    throw new Failure('backup.damaged', { attempted, reason: 'its manifest is another one than was written' });
  const objects = objectsOf(manifest);
  await assertComplete(options, objects, attempted);
  // Its signature is checked: what it says is believed by whoever restores.
  const proof = await readProof(destination, id, signer, text);
  await readObjectProof(destination, id, signer, text);
  for (const object of objects) {
    if (level === 0) continue;
    try {
      await look(options, object, manifest);
    } catch (error) {
      if (error instanceof Failure && error.id === 'backup.damaged') await lost(object.name);
      throw error;
    }
  }
  return { manifest, text, proof };
}

async function look(options: VerifyOptions, object: StoredAs, manifest: Manifest): Promise<void> {
  const { destination, level, apart, signal } = options;
  const full = manifest.objects.find(({ name }) => name === object.name);
  if (level < 2 || full === undefined) await hashOf(destination, object.name, object.stored, signal);
  else if (apart?.(full.role) !== true) await openWhole(options, full, manifest);
}

/** Every object with its size, and nothing that the manifest does not know. */
async function assertComplete(
  { destination, id, others, lost }: VerifyOptions,
  objects: readonly StoredAs[],
  attempted: string,
): Promise<void> {
  for (const { name, stored } of objects) {
    const size = await destination.size(name);
    if (size !== stored.bytes) await lost(name);
    if (size === null) throw new Failure('backup.missing', { attempted, reason: `${name} is not there` });
    if (size !== stored.bytes) throw new Failure('backup.damaged', { attempted, reason: `${name} has ${size} bytes of ${stored.bytes}` });
  }
  const expected = new Set([
    ...objects.map(({ name }) => name),
    `${id}/manifest.json`,
    `${id}/proof.json`,
    objectProofOf(id),
    `${id}/RESTORE.txt`,
  ]);
  for await (const { name } of destination.list(`${id}/`))
    if (!expected.has(name) && !(await others()).has(name))
      throw new Failure('backup.damaged', {
        attempted,
        reason: `${name} is not in the manifest`,
        hint: `No restore reads it. See what it is, take \`${destination.place}/${name}\` away, and verify again.`,
      });
}

/** Reads an object to its end. @throws Failure `backup.damaged` when it is not what was stored */
export async function hashOf(destination: Destination, name: string, stored: Stored, signal: AbortSignal): Promise<void> {
  const hash = createHash('sha256');
  for await (const chunk of destination.get(name)) {
    signal.throwIfAborted();
    hash.update(chunk);
    release(chunk);
  }
  if (hash.digest('hex') !== stored.sha256) throw changed(destination, name);
}

/** A small object. @throws Failure `backup.damaged` when it is not what was stored */
export async function wholeObject(destination: Destination, { name, stored }: StoredAs, signal: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  await pipeline(
    destination.get(name),
    async (content) => {
      let bytes = 0;
      for await (const chunk of content) {
        bytes += chunk.length;
        if (bytes > stored.bytes) throw changed(destination, name);
        chunks.push(chunk);
      }
    },
    { signal },
  );
  const content = Buffer.concat(chunks);
  if (createHash('sha256').update(content).digest('hex') !== stored.sha256) throw changed(destination, name);
  return content;
}

/** @throws Failure `backup.no-key`, `backup.unreadable`, and as `openedWhole` */
export async function openWhole(
  { destination, stack, keyOf, signal }: Pick<VerifyOptions, 'destination' | 'stack' | 'keyOf' | 'signal'>,
  object: ManifestObject,
  manifest: Manifest,
): Promise<void> {
  if (keyOf === null) throw new Failure('backup.no-key', { attempted: `open ${object.name}` });
  const plain = openedWhole(destination, object, keyOf, signal);
  const { database, mas } = manifest.server;
  const { kind, major } = database;
  if (object.role === 'mas-database') await stack.readDump('pg_dump', plain, mas?.major ?? major, signal);
  else if (object.role === 'database' && kind !== 'engine') await stack.readDump(kind, plain, major, signal);
  else await pipeline(plain, new Writable({ write: (_chunk, _encoding, done) => done() }));
}

/**
 * What an object holds. It is whole, and what was sealed, only when this ends.
 *
 * @throws Failure `backup.damaged`, `backup.missing`, `backup.no-key`
 */
export async function* openedWhole(
  destination: Destination,
  object: Pick<ManifestObject, 'name' | 'stored' | 'source'>,
  keyOf: (header: Buffer) => Promise<Buffer | null>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for await (const chunk of destination.get(object.name)) {
      signal.throwIfAborted();
      yield chunk;
    }
  }
  let content: Arrived;
  try {
    content = yield* opened(chunks(), keyOf);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // Whom it is for stands in its header, which may be what was changed.
    if (error.id === 'backup.no-key') await hashOf(destination, object.name, object.stored, signal);
    if (error.id === 'backup.damaged') throw changed(destination, object.name, error.reason);
    throw error;
  }
  if (content.sha256 !== object.source.sha256) throw changed(destination, object.name);
}

const changed = (destination: Destination, name: string, reason = 'its content is not what was stored'): Failure =>
  new Failure('backup.damaged', { attempted: `verify ${name} in ${destination.name}`, reason });

/** @throws Failure `backup.not-found` without a manifest, `backup.damaged`, `backup.foreign` */
export async function readManifest(destination: Destination, id: string, signer: KeyObject): Promise<{ manifest: Manifest; text: string }> {
  const name = `${id}/manifest.json`;
  if ((await destination.size(name)) === null)
    throw new Failure('backup.not-found', { attempted: `read the backup ${id}`, reason: `${destination.name} has no manifest of it` });
  const text = await textOf(destination, name);
  const manifest = readRecord(text, manifestShape, signer, `${name} in ${destination.name}`);
  if (manifest.id !== id)
    throw new Failure('backup.damaged', { attempted: `read ${name}`, reason: `it is the manifest of ${manifest.id}` });
  return { manifest, text };
}

/** The proof beside a manifest; null where there is none, or one of another manifest. */
export async function readProof(destination: Destination, id: string, signer: KeyObject, manifest: string): Promise<Proof | null> {
  const name = `${id}/proof.json`;
  if ((await destination.size(name)) === null) return null;
  const hint = `It tells what was proven of the content, and nothing else. \`!backup copy ${id} --to ${destination.name}\` writes it again by what another place has; where none has it, take \`${destination.place}/${name}\` away: what is stored can be verified and restored without it, compared with what the database held it cannot be.`;
  const proof = await recordOf(destination, name, proofShape, signer, hint);
  return proof.id === id && proof.manifest === createHash('sha256').update(manifest).digest('hex') ? proof : null;
}

/** What is said of a backup as it is stored here, beside its manifest. */
export const objectProofOf = (id: string): string => `${id}/proof-object.json`;

/** What opening the stored backup has shown last; null where nobody has, or it is of another manifest or destination. */
export async function readObjectProof(
  destination: Destination,
  id: string,
  signer: KeyObject,
  manifest: string,
): Promise<ObjectProof | null> {
  const name = objectProofOf(id);
  if ((await destination.size(name)) === null) return null;
  const hint = `It is a note of an earlier check, which no restore reads. Take \`${destination.place}/${name}\` away, and verify again: no more is to be done about it.`;
  const proof = await recordOf(destination, name, objectProofShape, signer, hint);
  const isOfThis = proof.id === id && proof.manifest === createHash('sha256').update(manifest).digest('hex');
  return isOfThis && proof.destination === destination.name ? proof : null;
}

/** A record beside a manifest. @param hint what to do about one that is not what this Steward wrote */
async function recordOf<T extends Proof | ObjectProof>(
  destination: Destination,
  name: string,
  shape: z.ZodType<T>,
  signer: KeyObject,
  hint: string,
): Promise<T> {
  try {
    return readRecord(await textOf(destination, name), shape, signer, `${name} in ${destination.name}`);
  } catch (error) {
    if (!(error instanceof Failure) || (error.id !== 'backup.damaged' && error.id !== 'backup.foreign')) throw error;
    const { id, attempted, reason } = error;
    throw new Failure(id, { ...(attempted === undefined ? {} : { attempted }), reason, hint, cause: error });
  }
}

async function textOf(destination: Destination, name: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of destination.get(name)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > recordAtMost) throw new Failure('backup.damaged', { attempted: `read ${name}`, reason: 'it is far too large' });
  }
  return Buffer.concat(chunks).toString('utf8');
}
