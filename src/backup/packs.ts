import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { Failure } from '../failures/failure.ts';
import type { ScratchDatabase } from '../stack/stack.ts';
import type { Destination } from './destinations/destination.ts';
import type { Manifest, ManifestObject, ObjectProof } from './manifest.ts';
import type { KeyOf } from './opener.ts';
import { indexLines, mediaIdOf } from './media-index.ts';
import { hashColumn, heldRows } from './media-rows.ts';
import { openedWhole } from './verify.ts';

export interface CheckMediaOptions {
  manifest: Manifest;
  destination: Destination;
  /** With the loaded database. */
  scratch: ScratchDatabase;
  keyOf: KeyOf;
  /** Bytes of a file that is kept for whoever asks a homeserver for one. */
  sampleAtMost: number;
  signal: AbortSignal;
  /** Told of a pack that is not what was stored, or its list. */
  lost: (name: string) => Promise<void>;
}

export interface CheckedMedia {
  counts: NonNullable<ObjectProof['media']>;
  /** More is missing or wrong than the manifest tells of: in words; null where it is not. */
  unexpected: string | null;
  /** A file that is what its row says, or null. */
  sample: { path: string; content: Buffer; sha256: string } | null;
}

/** A file of a pack, as it was read. */
interface Read {
  path: string;
  bytes: number;
  sha256: string;
}

/** Files that the database is asked of at a time. */
const page = 500;
const examplesAtMost = 20;
const held = 'steward_held_media';

/**
 * Reads every file of the packs, and holds each against the list of its pack and against its row in the database that was loaded
 * from the same backup; then looks which rows have no file. Nothing is held whole: files come one after the other.
 *
 * @throws Failure `backup.damaged` for a file that is not what the list says
 */
export async function checkMedia(options: CheckMediaOptions): Promise<CheckedMedia> {
  const { manifest, scratch } = options;
  const result: CheckedMedia = { counts: { files: 0, bytes: 0, missing: 0, wrong: 0, examples: [] }, unexpected: null, sample: null };
  const { counts } = result;
  await scratch.execute(`CREATE TABLE ${held} (media_id TEXT PRIMARY KEY)`);
  for (const pack of manifest.objects.filter(({ role }) => role === 'media')) {
    const list = manifest.objects.find(
      ({ role, name }) => role === 'media-index' && name === pack.name.replace(/\.tar\.age$/, '.files.age'),
    );
    if (list === undefined)
      throw new Failure('backup.damaged', { attempted: `read ${pack.name}`, reason: 'there is no list of its files' });
    try {
      await checkPack(options, pack, list, result);
    } catch (error) {
      if (error instanceof Failure && error.id === 'backup.damaged') await options.lost(pack.name);
      throw error;
    }
  }
  const missing = `FROM local_media_repository m WHERE ${heldRows} AND NOT EXISTS (SELECT 1 FROM ${held} h WHERE h.media_id = m.media_id)`;
  const [row] = await scratch.rows(`SELECT count(*) AS n ${missing}`);
  counts.missing = Number(row?.['n']);
  const named = await scratch.rows(`SELECT media_id ${missing} ORDER BY media_id LIMIT ${examplesAtMost}`);
  counts.examples.push(...named.map(({ media_id: id }) => String(id)));
  await scratch.execute(`DROP TABLE ${held}`);
  const known = manifest.media;
  const more = [
    ...(counts.missing > known.missing ? [`${counts.missing} media have no file, and the manifest tells of ${known.missing}`] : []),
    ...(counts.wrong > known.wrong
      ? [`${counts.wrong} files are not what the database says, and the manifest tells of ${known.wrong}`]
      : []),
  ];
  if (more.length > 0) result.unexpected = `${more.join('; ')} (${counts.examples.slice(0, 3).join(', ')})`;
  return result;
}

async function checkPack(options: CheckMediaOptions, pack: ManifestObject, list: ManifestObject, result: CheckedMedia): Promise<void> {
  const { destination, keyOf, signal } = options;
  const lines = indexLines(openedWhole(destination, list, keyOf, signal));
  const archive = extract();
  const feeding = pipeline(openedWhole(destination, pack, keyOf, signal), archive, { signal });
  feeding.catch(() => undefined);
  const damaged = (reason: string): Failure =>
    new Failure('backup.damaged', { attempted: `read ${pack.name} in ${destination.name}`, reason });
  const waiting: (Read & { content: Buffer | null })[] = [];
  try {
    for await (const entry of archive) {
      const { name, size } = entry.header;
      const hash = createHash('sha256');
      const kept: Buffer[] | null =
        result.sample === null && size <= options.sampleAtMost && waiting.every(({ content }) => content === null) ? [] : null;
      for await (const chunk of entry as AsyncIterable<Buffer>) {
        hash.update(chunk);
        kept?.push(Buffer.from(chunk));
      }
      const read = { path: name, bytes: size, sha256: hash.digest('hex') };
      // The list is in the order of the pack.
      const line = await nextOf(lines);
      if (line === null) throw damaged(`${name} is in it, and not in its list`);
      if (line.path !== name || line.bytes !== size || line.sha256 !== read.sha256) throw damaged(`${name} is not what its list says`);
      result.counts.files += 1;
      result.counts.bytes += size;
      if (!name.startsWith('local_content/')) continue;
      waiting.push({ ...read, content: kept === null ? null : Buffer.concat(kept) });
      if (waiting.length >= page) await holdAgainstRows(options, waiting.splice(0), result);
    }
    await feeding;
    const left = await nextOf(lines);
    if (left !== null) throw damaged(`${left.path} is in its list, and not in it`);
  } catch (error) {
    signal.throwIfAborted();
    // What the source of the archive threw says more than what the reader of it made of that.
    archive.destroy();
    throw await feeding.then(
      () => error,
      (first: unknown) => (first instanceof Failure ? first : error),
    );
  } finally {
    await lines.return(undefined);
  }
  await holdAgainstRows(options, waiting, result);
}

async function nextOf<T>(items: AsyncGenerator<T>): Promise<T | null> {
  const next = await items.next();
  return next.done === true ? null : next.value;
}

/** Media that came after the dump have no row in it: they are no fault. */
async function holdAgainstRows(
  { manifest, scratch }: CheckMediaOptions,
  files: readonly (Read & { content: Buffer | null })[],
  result: CheckedMedia,
): Promise<void> {
  if (files.length === 0) return;
  const { counts } = result;
  const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;
  const ids = files.map(({ path }) => mediaIdOf(path));
  const hash = hashColumn(manifest.server.database.schemaVersion);
  const rows = await scratch.rows(
    `SELECT media_id, media_length, ${hash}, quarantined_by FROM local_media_repository WHERE media_id IN (${ids.map(text).join(', ')})`,
  );
  const byId = new Map(rows.map((row) => [String(row['media_id']), row]));
  await scratch.execute(`INSERT INTO ${held} (media_id) VALUES ${ids.map((id) => `(${text(id)})`).join(', ')} ON CONFLICT DO NOTHING`);
  for (const [n, file] of files.entries()) {
    const id = ids[n] ?? '';
    const row = byId.get(id);
    if (row === undefined) continue;
    const isRight = file.bytes === Number(row['media_length']) && (row['sha256'] == null || row['sha256'] === file.sha256);
    if (isRight) {
      if (file.content !== null && row['quarantined_by'] == null)
        result.sample ??= { path: file.path, content: file.content, sha256: file.sha256 };
      continue;
    }
    counts.wrong += 1;
    if (counts.examples.length < examplesAtMost) counts.examples.push(id);
  }
}
