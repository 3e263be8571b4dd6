import type { Stack } from '../stack/stack.ts';
import { ownOutput } from '../stack/stream.ts';
import type { BackupStore, EpochRow, PackRow } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
import { sealInto } from './object.ts';

export interface MediaResult {
  /** Up to when all media are held now, once the backup is whole; milliseconds since the epoch. */
  until: number | null;
  newFiles: number;
  newBytes: number;
  missing: number;
  wrong: number;
  examples: string[];
}

export interface MediaOptions {
  id: string;
  destination: Destination;
  stack: Stack;
  store: BackupStore;
  epoch: EpochRow;
  mediaPath: string;
  /** The first version of Synapse's schema that holds hashes of media is 91. */
  schemaVersion: number;
  signal: AbortSignal;
}

/** A row of local_media_repository. */
interface Media {
  id: string;
  createdAt: number;
  bytes: number;
  sha256: string | null;
}

/** A pack ends when it has so many bytes or media. */
const packBytes = 512 << 20;
const packMedia = 50_000;
/** Rows of the database at a time. */
const page = 1000;
/** Media ids are given out up to a day before their content comes: rows of the last while are looked at again. */
const overlap = 26 * 3_600_000;
const examplesAtMost = 20;
const hashesSince = 91;

/**
 * Copies the media that the destination does not have, in packs: tar files, sealed, each with a sealed list of its files.
 * What is new comes from the database, so a run takes time in proportion to it. Media of other servers, URL previews and
 * what has no content yet are left out. Each file's hash is compared with the database's.
 */
export async function backUpMedia(options: MediaOptions): Promise<MediaResult> {
  const { destination, stack, store } = options;
  await forgetLostPacks(options);
  const since = store.mediaUntil(destination.name);
  const until = await newest(stack);
  const result: MediaResult = { until, newFiles: 0, newBytes: 0, missing: 0, wrong: 0, examples: [] };
  const rows = since === null ? everything(options) : changedSince(options, since - overlap);
  const wanted = unknown(rows, store, destination.name);
  for (let number = 1, first = await wanted.next(); first.done !== true; number += 1) {
    await onePack(options, number, first.value, wanted, result);
    first = await wanted.next();
  }
  return result;
}

async function onePack(
  { id, destination, stack, store, epoch, mediaPath, signal }: MediaOptions,
  number: number,
  first: Media,
  rest: AsyncIterator<Media>,
  result: MediaResult,
): Promise<void> {
  const taken: Media[] = [];
  async function* paths(): AsyncGenerator<string> {
    let bytes = 0;
    for (let next: Media | null = first; next !== null;) {
      const group: Media[] = [];
      while (next !== null && group.length < 64) {
        group.push(next);
        bytes += next.bytes;
        next = null;
        if (bytes >= packBytes || taken.length + group.length >= packMedia) break;
        const more = await rest.next();
        next = more.done === true ? null : more.value;
      }
      taken.push(...group);
      for (const found of await Promise.all(group.map((media) => stack.mediaPaths(media.id)))) yield* found;
    }
  }
  const name = `${id}/media/pack-${String(number).padStart(4, '0')}`;
  const stream = stack.tarMedia(mediaPath, paths(), signal);
  const pack = await sealInto(destination, `${name}.tar.age`, stream, [epoch.recipient]);
  const files = await stream.files;
  const byPath = new Map(files.map((file) => [file.path, file]));
  for (const media of taken) {
    const file = byPath.get(contentPath(media.id));
    const problem =
      file === undefined
        ? 'missing'
        : file.bytes !== media.bytes || (media.sha256 !== null && file.sha256 !== media.sha256)
          ? 'wrong'
          : null;
    if (problem === null) continue;
    result[problem] += 1;
    if (result.examples.length < examplesAtMost) result.examples.push(media.id);
  }
  result.newFiles += files.length;
  result.newBytes += files.reduce((sum, { bytes }) => sum + bytes, 0);
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
  const index = await sealInto(destination, `${name}.files.age`, ownOutput('list', lines, signal), [epoch.recipient]);
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
  store.addPack(
    destination.name,
    id,
    row,
    held.map((media) => media.id),
  );
}

const contentPath = (id: string): string => `local_content/${id.slice(0, 2)}/${id.slice(2, 4)}/${id.slice(4)}`;

/** Packs that somebody removed from the destination: their media are copied again. */
async function forgetLostPacks({ destination, store }: MediaOptions): Promise<void> {
  for (const pack of store.packs(destination.name)) {
    const [size, indexSize] = await Promise.all([destination.size(pack.name), destination.size(pack.index.name)]);
    if (size === pack.stored.bytes && indexSize === pack.index.stored.bytes) continue;
    store.dropPack(destination.name, pack.name);
    store.setMediaUntil(destination.name, null);
  }
}

async function* unknown(rows: AsyncIterable<Media>, store: BackupStore, destination: string): AsyncGenerator<Media> {
  for await (const media of rows) if (!store.hasMedia(destination, media.id)) yield media;
}

const ours = 'url_cache IS NULL AND media_length IS NOT NULL';
const columns = (schemaVersion: number): string =>
  `media_id, created_ts, media_length, ${schemaVersion >= hashesSince ? 'sha256' : 'NULL AS sha256'}`;

/** By the primary key, a page a query: no view of the database is held for the hours that a first copy may take. */
async function* everything({ stack, schemaVersion }: MediaOptions): AsyncGenerator<Media> {
  for (let after = ''; ;) {
    const rows = await query(
      stack,
      `SELECT ${columns(schemaVersion)} FROM local_media_repository WHERE media_id > '${after}' AND ${ours} ORDER BY media_id LIMIT ${page}`,
    );
    yield* rows.map(mediaOf);
    const last = rows.at(-1);
    if (last === undefined || rows.length < page) return;
    after = String(last['media_id']).replaceAll("'", "''");
  }
}

async function* changedSince({ stack, schemaVersion }: MediaOptions, since: number): AsyncGenerator<Media> {
  const rows = await query(
    stack,
    `SELECT ${columns(schemaVersion)} FROM local_media_repository WHERE created_ts >= ${Math.trunc(since)} AND ${ours} ORDER BY created_ts`,
  );
  yield* rows.map(mediaOf);
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
