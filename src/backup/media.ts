import { sizeText } from '../reply/size.ts';
import type { Stack } from '../stack/stack.ts';
import { ownOutput } from '../stack/stream.ts';
import type { BackupStore, EpochRow, MediaProblem, PackRow } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
import type { FanOut } from './fan-out.ts';
import { loseObjects, type LostObjectsOptions } from './lost-objects.ts';
import type { MediaChecked } from './manifest.ts';
import { hashColumn, heldRows } from './media-rows.ts';
import { sealInto } from './object.ts';
import type { Tell } from './progress.ts';

/** What a run did for one destination. */
export interface MediaResult {
  newFiles: number;
  newBytes: number;
  missing: number;
  wrong: number;
  examples: string[];
  /** Of a destination that held none before: all were compared with their rows as they were copied. Else null. */
  checked: MediaChecked | null;
}

export interface MediaOptions extends Omit<LostObjectsOptions, 'destination'> {
  id: string;
  fan: FanOut;
  stack: Stack;
  epoch: EpochRow;
  mediaPath: string;
  /** The first version of Synapse's schema that holds hashes of media is 91. */
  schemaVersion: number;
  signal: AbortSignal;
  tell: Tell;
}

/** A row of local_media_repository. */
export interface Media {
  id: string;
  createdAt: number;
  bytes: number;
  sha256: string | null;
}

/** A pack ends when it has so many bytes or media. */
const packBytes = 512 << 20;
const packMedia = 10_000;
/** Rows of the database at a time. */
const page = 1000;
/** Media ids are given out up to a day before their content comes: rows of the last while are looked at again. */
const overlap = 26 * 3_600_000;
const examplesAtMost = 20;

export interface MediaRun {
  /** Up to when all media are held now, once the backup is whole; milliseconds since the epoch. */
  until: number | null;
  of(destination: Destination): MediaResult;
}

/**
 * Copies the media that destinations do not have, in packs: tar files, sealed, each with a sealed list of its files.
 * What is new comes from the database, so a run takes time in proportion to it. Media of other servers, URL previews and
 * what has no content yet are left out. Each file's hash is compared with the database's.
 *
 * What all destinations lack is read once; then, for each group of them, what only they lack.
 */
export async function backUpMedia(options: MediaOptions): Promise<MediaRun> {
  const { fan, stack, store } = options;
  await fan.each((destination) => forgetLostPacks({ ...options, destination }));
  const results = new Map(fan.left().map((destination) => [destination, emptyResult(holdsNone(store, destination))]));
  const run: Run = { ...options, results, packs: 0, read: { media: 0, bytes: 0 }, smaller: new Map() };
  const until = await newest(stack);
  await onePass(run, fan.left());
  for (const group of run.smaller.values()) await onePass(run, group);
  for (const destination of fan.left()) await tellFaults(run, destination, results.get(destination) ?? emptyResult());
  return { until, of: (destination) => results.get(destination) ?? emptyResult() };
}

interface Run extends MediaOptions {
  results: ReadonlyMap<Destination, MediaResult>;
  /** A name is given once, in whichever destination. */
  packs: number;
  /** Media that were read, and their bytes. */
  read: { media: number; bytes: number };
  /** Groups that lack what others have, by their names. */
  smaller: Map<string, Destination[]>;
}

/** Whether all media are new to it. */
const holdsNone = (store: BackupStore, { name }: Destination): boolean => store.mediaUntil(name) === null && store.packs(name).length === 0;

const emptyResult = (isFirst = false): MediaResult => ({
  ...{ newFiles: 0, newBytes: 0, missing: 0, wrong: 0, examples: [] },
  checked: isFirst ? { media: 0, bytes: 0, missing: 0, wrong: 0, examples: [] } : null,
});

async function onePass(run: Run, group: readonly Destination[]): Promise<void> {
  const { fan, store } = run;
  const known = fan.left().map(({ name }) => store.mediaUntil(name));
  const since = Math.min(...known.map((until) => until ?? -1));
  const rows = since < 0 ? allMedia(run) : changedSince(run, since - overlap);
  const wanted = lackedBy(rows, run, group);
  try {
    for (let first = await wanted.next(); first.done !== true; first = await wanted.next()) await onePack(run, group, first.value, wanted);
  } catch (error) {
    // Others go on without a group that is lost.
    if (fan.left(group).length > 0 || fan.left().length === 0) throw error;
  }
}

/** Media that all of a group lack, and nobody else. */
async function* lackedBy(rows: AsyncIterable<Media>, { fan, store, smaller }: Run, group: readonly Destination[]): AsyncGenerator<Media> {
  for await (const media of rows) {
    const lacking = fan.left().filter(({ name }) => !store.hasMedia(name, media.id));
    const wanting = fan.left(group);
    if (lacking.length === wanting.length && wanting.every((destination) => lacking.includes(destination))) yield media;
    else if (lacking.length > 0 && lacking.length < fan.left().length) smaller.set(lacking.map(({ name }) => name).join(' '), lacking);
  }
}

async function onePack(run: Run, group: readonly Destination[], first: Media, rest: AsyncIterator<Media>): Promise<void> {
  const { id, fan, stack, store, epoch, mediaPath, results, read, signal, tell } = run;
  const taken: Media[] = [];
  async function* ids(): AsyncGenerator<string> {
    let bytes = 0;
    for (let next: Media | null = first; next !== null;) {
      taken.push(next);
      bytes += next.bytes;
      read.media += 1;
      read.bytes += next.bytes;
      tell(`media: ${read.media}, ${sizeText(read.bytes)}`);
      yield next.id;
      if (bytes >= packBytes || taken.length >= packMedia) return;
      const more = await rest.next();
      next = more.done === true ? null : more.value;
    }
  }
  run.packs += 1;
  const name = `${id}/media/pack-${String(run.packs).padStart(4, '0')}`;
  const stream = stack.tarMedia(mediaPath, ids(), signal);
  const pack = await sealInto(fan.to(group), `${name}.tar.age`, stream, [epoch.recipient]);
  const files = await stream.files;
  const byPath = new Map(files.map((file) => [file.path, file]));
  const bytesOf = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const problems: [string, MediaProblem | null][] = [];
  for (const media of taken) {
    const file = byPath.get(contentPath(media.id));
    const problem =
      file === undefined
        ? 'missing'
        : file.bytes !== media.bytes || (media.sha256 !== null && file.sha256 !== media.sha256)
          ? 'wrong'
          : null;
    problems.push([media.id, problem]);
  }
  for (const destination of group) {
    const result = results.get(destination) ?? emptyResult();
    result.newFiles += files.length;
    result.newBytes += bytesOf;
    if (result.checked === null) continue;
    result.checked.media += taken.length;
    result.checked.bytes += taken.reduce((sum, { bytes }) => sum + bytes, 0);
  }
  if (files.length === 0) {
    // Of an empty pack nobody has anything, and each night would add one.
    await fan.each((destination) => destination.remove(`${name}.tar.age`), group);
    store.transaction(() => {
      for (const destination of fan.left(group)) store.setFaults(destination.name, problems);
    });
    return;
  }
  async function* lines(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < files.length; at += page)
      yield await Promise.resolve(
        Buffer.from(
          files
            .slice(at, at + page)
            .map((file) => `${JSON.stringify(file)}\n`)
            .join(''),
        ),
      );
  }
  const index = await sealInto(fan.to(group), `${name}.files.age`, ownOutput('list', lines, signal), [epoch.recipient]);
  const { bytes, sha256 } = pack.source;
  const row: PackRow = {
    name: `${name}.tar.age`,
    epoch: epoch.name,
    source: { bytes, sha256 },
    stored: pack.stored,
    index: { name: `${name}.files.age`, source: { bytes: index.source.bytes, sha256: index.source.sha256 }, stored: index.stored },
    files: files.length,
  };
  // What has no file is looked for again by every run.
  const held = taken.filter((media) => byPath.has(contentPath(media.id)));
  store.transaction(() => {
    for (const destination of fan.left(group)) {
      store.setFaults(destination.name, problems);
      store.addPack(
        destination.name,
        id,
        row,
        held.map((media) => media.id),
      );
    }
  });
}

export const contentPath = (id: string): string => `local_content/${id.slice(0, 2)}/${id.slice(2, 4)}/${id.slice(4)}`;

/** Packs that somebody removed from the destination: their media are copied again. */
async function forgetLostPacks(options: LostObjectsOptions): Promise<void> {
  const { destination, store } = options;
  const lost: string[] = [];
  for (const { name, stored, index } of store.packs(destination.name)) {
    const [size, indexSize] = await Promise.all([destination.size(name), destination.size(index.name)]);
    if (size !== stored.bytes) lost.push(name);
    if (indexSize !== index.stored.bytes) lost.push(index.name);
  }
  await loseObjects(lost, options);
}

const columns = (schemaVersion: number): string => `media_id, created_ts, media_length, ${hashColumn(schemaVersion)}`;

/**
 * By the primary key, a page a query: no view of the database is held for the hours that a first copy may take.
 *
 * @param since milliseconds since the epoch; all of them where it is left out
 */
export async function* allMedia({ stack, schemaVersion }: Pick<Run, 'stack' | 'schemaVersion'>, since?: number): AsyncGenerator<Media> {
  const wanted = since === undefined ? heldRows : `created_ts >= ${Math.trunc(since)} AND ${heldRows}`;
  for (let after = ''; ;) {
    const rows = await query(
      stack,
      `SELECT ${columns(schemaVersion)} FROM local_media_repository WHERE media_id > '${after}' AND ${wanted} ORDER BY media_id LIMIT ${page}`,
    );
    yield* rows.map(mediaOf);
    const last = rows.at(-1);
    if (last === undefined || rows.length < page) return;
    after = String(last['media_id']).replaceAll("'", "''");
  }
}

/** And what had no file before that: it may have come back. */
async function* changedSince(run: Run, since: number): AsyncGenerator<Media> {
  const { fan, stack, store, schemaVersion } = run;
  for (const { name } of fan.left())
    for await (const faults of faultsOf(store, name)) {
      const ids = faults.filter(({ problem }) => problem === 'missing').map(({ id }) => id);
      const rows = await mediaByIds(stack, ids, schemaVersion);
      // Of several destinations the first that lacks it asks for it.
      yield* rows.filter(
        ({ id, createdAt }) => createdAt < since && fan.left().find((each) => store.isMissing(each.name, id))?.name === name,
      );
    }
  yield* allMedia(run, since);
}

/** Those of these media that the homeserver has; at most a page of them. */
export async function mediaByIds(stack: Stack, ids: readonly string[], schemaVersion: number): Promise<Media[]> {
  if (ids.length === 0) return [];
  const list = ids.map((id) => `'${id.replaceAll("'", "''")}'`).join(', ');
  const rows = await query(
    stack,
    `SELECT ${columns(schemaVersion)} FROM local_media_repository WHERE media_id IN (${list}) AND ${heldRows}`,
  );
  return rows.map(mediaOf);
}

async function* faultsOf(store: BackupStore, destination: string): AsyncGenerator<{ id: string; problem: MediaProblem }[]> {
  for (let faults = store.faults(destination, '', page); faults.length > 0;) {
    yield await Promise.resolve(faults);
    faults = store.faults(destination, faults.at(-1)?.id ?? '', page);
  }
}

/** All media that this destination holds no file of, or another one than their rows say, also of earlier runs; what is gone is forgotten. */
async function tellFaults({ stack, store, schemaVersion }: Run, { name }: Destination, result: MediaResult): Promise<void> {
  for await (const faults of faultsOf(store, name)) {
    const there = new Set(
      (
        await mediaByIds(
          stack,
          faults.map(({ id }) => id),
          schemaVersion,
        )
      ).map(({ id }) => id),
    );
    store.setFaults(
      name,
      faults.filter(({ id }) => !there.has(id)).map(({ id }) => [id, null] as const),
    );
    for (const { id } of faults.filter((fault) => there.has(fault.id)))
      if (result.examples.length < examplesAtMost) result.examples.push(id);
  }
  result.missing = store.countFaults(name, 'missing');
  result.wrong = store.countFaults(name, 'wrong');
  const { missing, wrong, examples } = result;
  if (result.checked !== null) Object.assign(result.checked, { missing, wrong, examples });
}

async function newest(stack: Stack): Promise<number | null> {
  const [row] = await query(stack, 'SELECT max(created_ts) AS until FROM local_media_repository');
  return row?.['until'] == null ? null : Number(row['until']);
}

async function query(stack: Stack, sql: string): Promise<Record<string, unknown>[]> {
  const snapshot = await stack.openSnapshot();
  try {
    return await snapshot.rows(sql);
  } finally {
    await snapshot.close();
  }
}

function mediaOf(row: Record<string, unknown>): Media {
  return {
    id: String(row['media_id']),
    createdAt: Number(row['created_ts']),
    bytes: Number(row['media_length']),
    sha256: typeof row['sha256'] === 'string' ? row['sha256'] : null,
  };
}
