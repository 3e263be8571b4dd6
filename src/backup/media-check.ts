import type { Stack } from '../stack/stack.ts';
import type { BackupStore } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
import type { MediaChecked } from './manifest.ts';
import { allMedia, contentPath, mediaByIds, type Media } from './media.ts';

/** Milliseconds after which all media are looked at again. */
const every = 30 * 86_400_000;
const examplesAtMost = 20;

/** Whether a destination's media are due to be looked at, all of them. Where it holds none, all are compared as they are copied. */
export function isCheckDue(store: BackupStore, destination: Destination, now: number): boolean {
  const at = store.mediaChecked(destination.name);
  return at === null ? store.mediaUntil(destination.name) !== null : now - at >= every;
}

export interface CheckAllOptions {
  stack: Stack;
  store: BackupStore;
  destinations: readonly Destination[];
  schemaVersion: number;
  signal: AbortSignal;
}

/**
 * Holds every row of the homeserver's media against its live file: there, of its size, with its hash. A row whose file is there and
 * that no pack has is new again. A page of rows at a time.
 */
export async function checkAllMedia({ stack, store, destinations, schemaVersion, signal }: CheckAllOptions): Promise<MediaChecked> {
  const found: MediaChecked = { media: 0, bytes: 0, missing: 0, wrong: 0, examples: [] };
  const unheld = new Set<Destination>();
  for await (const media of allMedia({ stack, schemaVersion })) {
    signal.throwIfAborted();
    const problem = await problemOf(stack, media);
    found.media += 1;
    found.bytes += media.bytes;
    if (problem !== null) {
      found[problem] += 1;
      if (found.examples.length < examplesAtMost) found.examples.push(media.id);
    }
    if (problem === 'missing') continue;
    for (const destination of destinations) if (!store.hasMedia(destination.name, media.id)) unheld.add(destination);
  }
  for (const { name } of unheld) store.setMediaUntil(name, null);
  return found;
}

/** Another one cannot name a file. */
const mediaId = /^[\w-]{5,255}$/;

async function problemOf(stack: Stack, media: Media): Promise<'missing' | 'wrong' | null> {
  if (!mediaId.test(media.id)) return 'missing';
  const file = await stack.restores.mediaFile(contentPath(media.id));
  if (file === null) return 'missing';
  return file.bytes !== media.bytes || (media.sha256 !== null && file.sha256 !== media.sha256) ? 'wrong' : null;
}

/** Media of a pack that the database is asked of at a time. */
const page = 500;

/**
 * Packs of a destination whose media the homeserver has not any more, none of them. For most packs the first question is enough.
 *
 * @returns their names
 */
export async function deadPacks(stack: Stack, store: BackupStore, destination: Destination, signal: AbortSignal): Promise<string[]> {
  const { schemaVersion } = await stack.databaseFacts();
  const dead: string[] = [];
  for (const { name } of store.packs(destination.name)) {
    signal.throwIfAborted();
    let isAlive = false;
    for (let after = '', ids = store.mediaOf(destination.name, name, after, page); ids.length > 0 && !isAlive;) {
      isAlive = (await mediaByIds(stack, ids, schemaVersion)).length > 0;
      after = ids.at(-1) ?? '';
      ids = store.mediaOf(destination.name, name, after, page);
    }
    if (!isAlive) dead.push(name);
  }
  return dead;
}
