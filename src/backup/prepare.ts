import { secondsSince, type Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import { sizeText } from '../reply/size.ts';
import type { DatabaseFacts, MediaFile, RestorePlace, Snapshot, Space, Stack, StackFacts } from '../stack/stack.ts';
import type { PreparedReport, RestorePart } from '../store/restores.ts';
import { cloneRemark, stageClone } from './clone.ts';
import type { BackupContent, ContentSummary } from './content.ts';
import { mediaIdOf } from './media-index.ts';
import { heldRows } from './media-rows.ts';
import { assertSequencesAhead, fingerprint } from './prove.ts';

export interface PrepareOptions {
  /** Of the restore. */
  id: string;
  content: BackupContent;
  parts: readonly RestorePart[];
  /** Under the same name, with a signing key of its own, and closed. */
  asClone: boolean;
  stack: Stack;
  clock: Clock;
  signal: AbortSignal;
  /** Told what is being done, in words. */
  progress: (words: string) => void;
}

export const neverProven = 'it was never proven against the database that it was made of';

/** Media ids that are asked of the database at a time. */
const page = 500;

/**
 * Whether a backup fits this homeserver, before anything of it is opened.
 *
 * @param live what its database says of itself, or null where there is none yet
 * @throws Failure `restore.refused` with the reason
 */
export function assertFits(summary: ContentSummary, facts: StackFacts, live: DatabaseFacts | null, parts: readonly RestorePart[]): void {
  const refuse = (reason: string, hint?: string): never => {
    throw new Failure('restore.refused', { attempted: `restore ${summary.id}`, reason, ...(hint === undefined ? {} : { hint }) });
  };
  const { serverName, database } = summary;
  if (serverName !== null && serverName !== facts.serverName) refuse(`it is of ${serverName}, and this is ${facts.serverName}`);
  if (!parts.includes('database')) return;
  if (database === null) return refuse('there is no database in it', 'The other parts can be restored: `--only`.');
  const { engine } = database;
  if (database.kind === 'engine')
    return refuse(
      `its database is held by ${engine?.name ?? 'an engine'}, as ${engine?.label ?? ''} of ${engine?.server ?? ''}`,
      `With Synapse and PostgreSQL stopped: \`${engine?.restore ?? ''}\`. The rest by Steward: \`--only media,keys,config,secrets\`.`,
    );
  const ofSqlite = database.kind === 'sqlite';
  if (ofSqlite !== (facts.database.kind === 'sqlite'))
    refuse(`it is of ${ofSqlite ? 'SQLite' : 'PostgreSQL'}, and the homeserver uses ${ofSqlite ? 'PostgreSQL' : 'SQLite'}`);
  if (database.encoding !== null && database.encoding !== 'UTF8') refuse(`its encoding is ${database.encoding}, and Synapse wants UTF8`);
  if (live === null) return;
  if (database.schemaVersion !== null && database.schemaVersion > live.schemaVersion)
    refuse(
      `its schema has the number ${database.schemaVersion}, and the Synapse that is installed has ${live.schemaVersion}`,
      'Upgrade Synapse first, to the version that the backup is of or a newer one.',
    );
  if (database.major !== null && live.major !== null && database.major > live.major)
    refuse(
      `it is of PostgreSQL ${database.major}, and the server is version ${live.major}`,
      'A dump loads into the same major version or a newer one.',
    );
}

/** Whether there is room to load the database of a backup. @returns what could not be seen, in words @throws Failure `restore.no-space` */
export async function assertDatabaseRoom({ id, database }: ContentSummary, stack: Stack, parts: readonly RestorePart[]): Promise<string[]> {
  if (!parts.includes('database') || database === null) return [];
  const space = await stack.restores.databaseSpace(database.bytes);
  assertRoom(space, `load the database of ${id}`);
  if (space.free !== null) return [];
  const grant = space.grant === null ? '' : `: \`${space.grant}\` lets Steward look`;
  return [`about ${sizeText(space.needed)} are needed at ${space.place}, and what is free there cannot be seen${grant}`];
}

function assertRoom({ place, needed, free }: Space, attempted: string): void {
  if (free === null || free >= needed) return;
  const reason = `${place} has ${sizeText(free)} free, and about ${sizeText(needed)} are needed`;
  throw new Failure('restore.no-space', { attempted, reason });
}

/** Loads all that was chosen beside what is live, and checks it. Whatever it throws, the caller takes away what is there of it. */
export async function prepare(options: PrepareOptions): Promise<PreparedReport> {
  const { content, parts, stack, clock, progress } = options;
  const started = clock.monotonic();
  const report = {
    serverName: content.summary.serverName,
    databaseAt: content.summary.databaseAt,
    ...{ tables: 0, rows: 0, lastEvent: null as number | null, media: 0, mediaBytes: 0, mediaMissing: 0 },
    files: [] as string[],
    remarks: [] as string[],
  };
  progress('keys, configuration and secrets');
  if (options.asClone) {
    report.files.push(...(await stageClone(stack, options.id)));
    report.remarks.push(cloneRemark);
  } else await prepareFiles(options, report);
  if (parts.includes('database')) {
    await assertDatabaseRoom(content.summary, stack, parts);
    progress('the database is loaded');
    await prepareDatabase(options, report);
  }
  if (parts.includes('media')) {
    progress('media are compared');
    const view = parts.includes('database') ? await stack.restores.openPrepared(options.id) : await stack.openSnapshot();
    try {
      await prepareMedia(options, view, report);
    } finally {
      await view.close();
    }
  }
  report.remarks.push(...content.remarks(parts));
  return { ...report, seconds: secondsSince(clock, started) };
}

type Report = Omit<PreparedReport, 'seconds' | 'files' | 'remarks'> & { files: string[]; remarks: string[] };

async function prepareFiles({ id, content, parts, stack, signal }: PrepareOptions, report: Report): Promise<void> {
  for (const part of ['keys', 'config', 'secrets'] as const) {
    if (!parts.includes(part)) continue;
    // On another machine the key may have another place.
    const to = part === 'keys' ? (await stack.facts()).signingKeyPath : undefined;
    for (const tar of content.files(part, signal)) {
      const staged = await stack.restores.stageFiles(id, tar, signal, to);
      report.files.push(...staged.filter(({ live }) => live !== 'same').map(({ path }) => path));
      if (part === 'keys' && staged.some(({ live }) => live === 'other'))
        report.remarks.push(
          'the signing key is another one than today’s: put the public half of today’s under `old_signing_keys`, or leave it with `--only` without keys',
        );
    }
  }
}

async function prepareDatabase({ id, content, stack, signal }: PrepareOptions, report: Report): Promise<void> {
  const { summary, proven } = content;
  if (summary.database === null || summary.database.kind === 'engine') throw new TypeError('a backup without a database was let in');
  const { kind, schemaVersion } = summary.database;
  const place: RestorePlace = stack.restores;
  const notSet = await place.load(id, kind, content.database(signal), signal);
  if (notSet.length > 0)
    report.remarks.push(
      `${notSet.join(', ')} of the live database Steward may not set: where it is needed, \`ALTER DATABASE … SET\` by a superuser after the cutover`,
    );
  const view = await place.openPrepared(id);
  try {
    const different = (reason: string): Failure => new Failure('restore.different', { attempted: `load ${summary.id}`, reason });
    if (kind === 'sqlite') {
      const [check] = await view.rows('PRAGMA integrity_check');
      if (check?.['integrity_check'] !== 'ok') throw different(`SQLite finds it damaged: ${String(check?.['integrity_check'])}`);
    }
    const found = await fingerprint(view, kind === 'sqlite' ? 'sqlite' : 'pg_dump');
    report.tables = found.rows.size;
    report.rows = [...found.rows.values()].reduce((sum, count) => sum + count, 0);
    if (proven !== null && (proven.tables !== report.tables || proven.rows !== report.rows))
      throw different(`it has ${report.rows} rows in ${report.tables} tables, and was proven with ${proven.rows} in ${proven.tables}`);
    if (kind !== 'sqlite') await assertSequencesAhead(view, found.sequences);
    const [schema] = await view.rows('SELECT version FROM schema_version');
    if (Number(schema?.['version']) !== schemaVersion)
      throw different(`its schema has the number ${String(schema?.['version'])}, and the backup says ${schemaVersion}`);
    const [last] = await view.rows('SELECT coalesce(max(stream_ordering), 0) AS last FROM events');
    report.lastEvent = Number(last?.['last']);
    if (proven === null) report.remarks.push(neverProven);
  } finally {
    await view.close();
  }
}

/** Of each pack, the files that the database names and that are not there as they were. A pack of which nothing is missing is not opened. */
async function prepareMedia(options: PrepareOptions, view: Snapshot, report: Report): Promise<void> {
  const { id, content, stack, signal } = options;
  let held = 0;
  for (const pack of content.packs) {
    const wanted = new Map<string, MediaFile>();
    for await (const lines of batches(pack.files(signal), page)) {
      const known = await mediaIn(view, lines);
      for (const line of lines) {
        if (!known.has(mediaIdOf(line.path))) continue;
        if (line.path.startsWith('local_content/')) held += 1;
        const live = await stack.restores.mediaFile(line.path);
        if (live?.bytes !== line.bytes || live.sha256 !== line.sha256) wanted.set(line.path, line);
      }
    }
    if (wanted.size === 0) continue;
    const needed = [...wanted.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    assertRoom(await stack.restores.mediaSpace(needed), 'unpack media');
    const staged = await stack.restores.stageMedia(id, pack.tar(signal), (path, bytes) => wanted.get(path)?.bytes === bytes, signal);
    const byPath = new Map(staged.map((file) => [file.path, file]));
    for (const line of wanted.values()) {
      const file = byPath.get(line.path);
      if (file?.bytes !== line.bytes || file.sha256 !== line.sha256)
        throw new Failure('restore.different', {
          attempted: 'unpack media',
          reason: `${line.path} in ${pack.name} is not what its list says`,
        });
    }
    report.media += staged.length;
    report.mediaBytes += needed;
  }
  const [row] = await view.rows(`SELECT count(*) AS n FROM local_media_repository WHERE ${heldRows}`);
  report.mediaMissing = Math.max(0, Number(row?.['n']) - held);
}

/** Which of these media the database has. */
async function mediaIn(view: Snapshot, lines: readonly MediaFile[]): Promise<Set<string>> {
  const ids = [...new Set(lines.map(({ path }) => mediaIdOf(path)))];
  const list = ids.map((id) => `'${id.replaceAll("'", "''")}'`).join(', ');
  const rows = await view.rows(`SELECT media_id FROM local_media_repository WHERE media_id IN (${list})`);
  return new Set(rows.map((row) => String(row['media_id'])));
}

async function* batches<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
