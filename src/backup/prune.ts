import type { KeyObject } from 'node:crypto';
import type { BackupStore } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
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
 * @throws Failure of the families `backup`; where a manifest of those that stay cannot be read, before anything is removed
 */
export async function removeBackups(ids: readonly string[], options: PruneOptions): Promise<number> {
  const { destination, store, signer, signal } = options;
  const gone = new Set(ids);
  const kept = new Set(store.packs(destination.name).flatMap(({ name, index }) => [name, index.name]));
  for (const { id, destination: at } of store.list('complete')) {
    if (at !== destination.name || gone.has(id)) continue;
    if ((await destination.size(`${id}/manifest.json`)) === null) continue;
    const { manifest } = await readManifest(destination, id, signer);
    for (const { name } of manifest.objects) kept.add(name);
  }
  let freed = 0;
  for (const id of ids) {
    signal.throwIfAborted();
    store.setState(id, destination.name, 'removed');
    await destination.remove(`${id}/manifest.json`);
  }
  // Also folders of earlier runs, whose media nothing is made of any more.
  for (const { id, destination: at } of store.list('removed')) {
    if (at !== destination.name) continue;
    signal.throwIfAborted();
    await destination.remove(`${id}/manifest.json`);
    let left = 0;
    for await (const { name, bytes } of destination.list(`${id}/`)) {
      if (kept.has(name)) left += 1;
      else {
        await destination.remove(name);
        freed += bytes;
      }
    }
    if (left > 0) continue;
    await destination.clear(`${id}/`);
    store.forget(id, destination.name);
  }
  return freed;
}
