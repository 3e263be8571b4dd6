import { secondsSince, type Clock, type Ids } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import { longSecret } from '../homeserver/registration.ts';
import type { ScratchDatabase, Stack } from '../stack/stack.ts';
import type { Destination } from './destinations/destination.ts';
import { readBack, type Probed } from './drill.ts';
import type { Manifest, ObjectProof, Proof } from './manifest.ts';
import type { KeyOf } from './opener.ts';
import { tryMas } from './mas.ts';
import { checkMedia, type CheckedMedia } from './packs.ts';
import { assertSequencesAhead, compareWith, different, loadedIn, noScratch } from './prove.ts';
import { openedWhole, openWhole } from './verify.ts';

export interface TrialOptions {
  manifest: Manifest;
  proof: Proof | null;
  destination: Destination;
  stack: Stack;
  keyOf: KeyOf;
  level: 3 | 4 | 5;
  clock: Clock;
  ids: Ids;
  signal: AbortSignal;
  /** Told of a pack that is not what was stored. */
  lost: (name: string) => Promise<void>;
  /** Told what is being done, in words. */
  progress: (words: string) => void;
}

/** What a stored backup came to. */
export type Trial = Pick<ObjectProof, 'level' | 'missing' | 'tables' | 'rows' | 'media' | 'isolation' | 'phases'> & {
  probed: Probed | null;
};

/** Media that are small enough to be held until the homeserver is asked for one, bytes. */
export const sampleAtMost = 1 << 20;

/**
 * Tries what is stored, in a database that is thrown away: 3, the dump is loaded and compared with what the database held; 4, every
 * file of the packs is hashed, and held against the rows of that database; 5, a homeserver is started on it, with no network, and
 * asked. Where no such database can be had it is read to its end instead, and the level says so.
 *
 * @throws Failure `backup.damaged`, `backup.unreadable`, `backup.missing`, `backup.not-proven`
 */
export async function tryStored(options: TrialOptions): Promise<Trial> {
  const { manifest, destination, stack, keyOf, level, signal, progress } = options;
  const { kind } = manifest.server.database;
  const database = manifest.objects.find(({ role }) => role === 'database');
  if (database === undefined) throw new Failure('backup.damaged', { attempted: `open ${manifest.id}`, reason: 'it names no database' });
  const trial: Trial = { level: 2, missing: null, tables: 0, rows: 0, media: null, isolation: null, phases: [], probed: null };
  const timed = phasesInto(trial, options);
  const place =
    kind === 'engine'
      ? { scratch: null, reason: 'its database is held by another engine, whose own check it has' }
      : await stack.openScratch(kind, manifest.server.database, signal).catch((error: unknown) => noScratch(error, signal));
  const readInstead = async (reason: string): Promise<Trial> => {
    for (const object of manifest.objects.filter(({ role }) => isTried(role, level))) await openWhole(options, object, manifest);
    return { ...trial, missing: reason };
  };
  if (place.scratch === null) return readInstead(place.reason);
  const { scratch } = place;
  let full: string;
  try {
    await timed('load the database', async () => {
      const end = { isWhole: false };
      async function* whole(): AsyncGenerator<Uint8Array> {
        yield* openedWhole(destination, database as (typeof manifest.objects)[0], keyOf, signal);
        end.isWhole = true;
      }
      await scratch.load(whole(), signal);
      // What opens it says at its end whether it is what was sealed.
      if (!end.isWhole)
        throw new Failure('backup.unreadable', { attempted: `load ${database.name}`, reason: 'more of it is stored than was read' });
    });
    await timed('compare it', async () => {
      Object.assign(trial, await compared(options, scratch));
    });
    trial.missing ??= await triedMas(options);
    if (trial.missing !== null) {
      for (const object of manifest.objects.filter(({ role }) => role !== 'database' && isTried(role, level)))
        await openWhole(options, object, manifest);
      return trial;
    }
    trial.level = 3;
    if (level === 3) return trial;
    progress('media are read');
    const media = await timed('read the media', () => checkMedia({ ...options, scratch, sampleAtMost }));
    trial.media = media.counts;
    trial.missing = media.unexpected;
    if (media.unexpected === null) trial.level = 4;
    if (level === 5) await boot(options, scratch, media, trial, timed);
    return trial;
  } catch (error) {
    full = noScratch(error, signal).reason;
  } finally {
    await scratch.close();
  }
  return readInstead(full);
}

/** The database of Matrix Authentication Service, where it is in the backup. @returns why it could not be compared, or null */
async function triedMas({ manifest, proof, destination, stack, keyOf, signal, progress }: TrialOptions): Promise<string | null> {
  const object = manifest.objects.find(({ role }) => role === 'mas-database');
  const { mas: facts } = manifest.server;
  if (object === undefined || facts === undefined) return null;
  const held = proof?.content.mas?.held;
  if (held === undefined) return 'no record beside it says what the database of Matrix Authentication Service held';
  progress('Matrix Authentication Service');
  const data = (): AsyncIterable<Uint8Array> => openedWhole(destination, object, keyOf, signal);
  return (await tryMas({ stack, facts, data, held, signal })).missing;
}

/** Whether the trial opens objects of a role itself. */
export function isTried(role: Manifest['objects'][0]['role'], level: number): boolean {
  return role === 'database' ? level >= 3 : role === 'media' || role === 'media-index' ? level >= 4 : false;
}

type Timed = <T>(name: string, work: () => Promise<T>) => Promise<T>;

function phasesInto(trial: Trial, { clock, progress }: TrialOptions): Timed {
  return async (name, work) => {
    progress(name);
    const started = clock.monotonic();
    const result = await work();
    trial.phases.push({ name, seconds: secondsSince(clock, started) });
    return result;
  };
}

async function compared(
  { manifest, proof }: TrialOptions,
  scratch: ScratchDatabase,
): Promise<{ tables: number; rows: number; missing: string | null }> {
  const { kind, schemaVersion } = manifest.server.database;
  const loaded = await loadedIn(scratch, kind);
  const [schema] = await scratch.rows('SELECT version FROM schema_version');
  if (Number(schema?.['version']) !== schemaVersion)
    throw different(`its schema has the number ${String(schema?.['version'])}, and the manifest says ${schemaVersion}`);
  const held = proof?.content.held;
  if (held !== undefined) return { ...(await compareWith(loaded, held, scratch, kind)), missing: null };
  if (kind === 'pg_dump') await assertSequencesAhead(scratch, loaded.sequences);
  const found = { tables: loaded.rows.size, rows: [...loaded.rows.values()].reduce((sum, count) => sum + count, 0) };
  if (proof === null || proof.content.level < 3) return { ...found, missing: 'no record beside it says what the database held' };
  // An earlier version wrote down the sums alone.
  if (found.tables !== proof.content.tables || found.rows !== proof.content.rows)
    throw different(
      `it has ${found.rows} rows in ${found.tables} tables, and was proven with ${proof.content.rows} in ${proof.content.tables}`,
    );
  return { ...found, missing: null };
}

async function boot(
  { manifest, ids, signal }: TrialOptions,
  scratch: ScratchDatabase,
  { sample, unexpected }: CheckedMedia,
  trial: Trial,
  timed: Timed,
): Promise<void> {
  const registrationSecret = longSecret(ids);
  const server = await timed('start Synapse', () =>
    scratch.boot({ serverName: manifest.server.name, registrationSecret, media: sample === null ? [] : [sample] }, signal),
  );
  try {
    trial.isolation = server.isolation;
    trial.probed = await timed('log in and read', () =>
      readBack({ server, scratch, serverName: manifest.server.name, registrationSecret, sample, ids }),
    );
    if (unexpected === null) trial.level = 5;
  } finally {
    await server.close();
  }
}
