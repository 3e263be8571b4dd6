import type { KeyObject } from 'node:crypto';
import type { BackupStore } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
import { assertHeld } from './held.ts';
import { readManifest } from './verify.ts';

export interface PruneOptions {
  destination: Destination;
  store: BackupStore;
  signer: KeyObject;
  signal: AbortSignal;
}

/**
 * Removes backups of one destination, manifest first: from then on there is no such backup, and what a kill leaves is taken away
 * by the next run. Media that a backup which stays is made of stay where they are. Returns the bytes that were freed.
 *
 * @throws Failure of the families `backup`; where a manifest of those that stay cannot be read, and where the destination holds none
 * of its backups, before anything is removed
 */
export async function removeBackups(ids: readonly string[], options: PruneOptions): Promise<number> {
  const { destination, store, signal } = options;
  // An empty folder would tell that nothing is left of what was removed before, though the disk has it.
  await assertHeld(destination, store, `remove backups from ${destination.name}`);
  const kept = await namesInUse(options, new Set(ids));
  let freed = 0;
  for (const id of ids) {
    signal.throwIfAborted();
    store.setState(id, destination.name, 'removed');
    await destination.remove(`${id}/manifest.json`);
  }
  for (const { id, destination: at } of store.list('copying')) if (at === destination.name) store.setState(id, at, 'removed');
  // Also folders of earlier runs, and of copies that did not come to their end, whose media nothing is made of any more.
  for (const { id, destination: at } of store.list('removed')) {
    if (at !== destination.name) continue;
    signal.throwIfAborted();
    await destination.remove(`${id}/manifest.json`);
    await destination.abandon(`${id}/`);
    const { freed: gone, left } = await sweep(destination, `${id}/`, kept);
    freed += gone;
    if (left > 0) continue;
    await destination.clear(`${id}/`);
    store.forget(id, destination.name);
  }
  // A copy that did not come to its end may have left media beside those of a backup that stays.
  for (const { id, destination: at } of store.list('complete')) {
    if (at !== destination.name) continue;
    signal.throwIfAborted();
    // Without its manifest nobody knows what belongs to it.
    if ((await destination.size(`${id}/manifest.json`)) === null) continue;
    await destination.abandon(`${id}/`);
    freed += (await sweep(destination, `${id}/media/`, kept)).freed;
  }
  return freed;
}

/** Removes what is not kept below a prefix. @returns the bytes that were freed, and how many objects were kept */
async function sweep(destination: Destination, prefix: string, kept: ReadonlySet<string>): Promise<{ freed: number; left: number }> {
  const found = { freed: 0, left: 0 };
  for await (const { name, bytes } of destination.list(prefix)) {
    if (kept.has(name)) found.left += 1;
    else {
      await destination.remove(name);
      found.freed += bytes;
    }
  }
  return found;
}

/** Objects that backups of a destination are made of, but for some, and the media that new ones will be made of. */
export async function namesInUse(
  { destination, store, signer }: Pick<PruneOptions, 'destination' | 'store' | 'signer'>,
  without: ReadonlySet<string>,
): Promise<Set<string>> {
  const kept = new Set(store.packs(destination.name).flatMap(({ name, index }) => [name, index.name]));
  for (const { id, destination: at } of store.list('complete')) {
    if (at !== destination.name || without.has(id)) continue;
    if ((await destination.size(`${id}/manifest.json`)) === null) continue;
    const { manifest } = await readManifest(destination, id, signer);
    for (const { name } of manifest.objects) kept.add(name);
  }
  return kept;
}
