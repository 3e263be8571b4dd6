import type { KeyObject } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { BackupStore } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
import { objectsOf, type Manifest } from './manifest.ts';
import { readManifest } from './verify.ts';

export interface LostObjectsOptions {
  destination: Destination;
  store: BackupStore;
  signer: KeyObject;
  clock: Clock;
}

/**
 * Writes down, in one commit, that a destination has not any more what was stored under these names: no backup that is made of it is
 * proven there, and the media of a pack are new again.
 *
 * @throws Failure `backup.destination-failed`, with nothing written down
 */
export async function loseObjects(names: readonly string[], options: LostObjectsOptions): Promise<void> {
  if (names.length === 0) return;
  const { destination, store, clock } = options;
  const lost = new Set(names);
  const broken: string[] = [];
  for (const { id, destination: at } of store.list('complete')) {
    if (at !== destination.name) continue;
    const manifest = await manifestOf(id, options);
    if (manifest !== null && objectsOf(manifest).some(({ name }) => lost.has(name))) broken.push(id);
  }
  store.transaction(() => {
    for (const { name, index } of store.packs(destination.name))
      if (lost.has(name) || lost.has(index.name)) store.losePack(destination.name, name);
    for (const id of broken) store.setObject(id, destination.name, null, clock.now());
  });
}

/** Null for one that is not there, or not what was written: that is found when its own backup is looked at. */
async function manifestOf(id: string, { destination, signer }: LostObjectsOptions): Promise<Manifest | null> {
  try {
    return (await readManifest(destination, id, signer)).manifest;
  } catch (error) {
    if (error instanceof Failure && ['backup.not-found', 'backup.damaged', 'backup.foreign'].includes(error.id)) return null;
    throw error;
  }
}
