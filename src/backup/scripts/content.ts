import { createHash } from 'node:crypto';
import { createGunzip, createZstdCompress, constants } from 'node:zlib';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { Failure } from '../../failures/failure.ts';
import { Tally, toldApart } from '../../stack/stream.ts';
import { restoreParts, type RestorePart } from '../../store/restores.ts';
import type { BackupContent, ContentSummary } from '../content.ts';
import { readPlainDump, type DumpFacts } from './dump.ts';
import type { ScriptsBackup, ScriptsFile, ScriptsFolder } from './folder.ts';
import { mediaIn, mediaTar } from './media.ts';

/** What was read of a backup of the scripts, to its end. */
export interface ScriptsContent extends BackupContent {
  /** SHA-256 of each file that was read, by name, hex. */
  read: ReadonlyMap<string, string>;
  /** Files whose hash the script had written, and that have it. */
  hashed: readonly string[];
  /** Local media in the archive. */
  media: { files: number; bytes: number };
}

export function scriptsSummary({ id, serverName, at, database }: ScriptsBackup): ContentSummary {
  // Whatever it is packed with, rows are not smaller than what is read of them.
  const loaded = database && { kind: 'sql' as const, encoding: null, schemaVersion: null, major: null, bytes: database.bytes };
  return { id, serverName, databaseAt: at, database: loaded };
}

/**
 * Reads what a restore of these parts would take to its end: the dump to its last line, archives whole, hashes where the script
 * wrote some. What it gives is read once more, and must then be the same.
 *
 * @throws Failure `backup.unreadable`, `backup.damaged`, `backup.missing`, `restore.unsafe-dump`, `restore.unsafe-name`
 */
export async function scriptsContent(
  folder: ScriptsFolder,
  backup: ScriptsBackup,
  { parts = restoreParts, signal, progress }: { parts?: readonly RestorePart[]; signal: AbortSignal; progress: (words: string) => void },
): Promise<ScriptsContent> {
  const { id, database, media: archive, key } = backup;
  const attempted = `read ${id} in ${folder.path}`;
  if (backup.manifest === null)
    throw new Failure('backup.damaged', { attempted, reason: 'it has no MANIFEST.txt: the script did not come to its end' });
  if (parts.every((part) => part === 'config' || part === 'secrets'))
    throw new Failure('restore.refused', {
      attempted,
      reason: 'the scripts back up no configuration, and their Secrets are of Kubernetes',
    });
  const read = new Map<string, string>();
  const opened = (file: ScriptsFile): AsyncIterable<Uint8Array> => whole(folder, id, file, read);
  const facts: DumpFacts = { version: null, encoding: null, schemaVersion: null, serverName: null };
  let plainBytes = 0;
  if (parts.includes('database')) {
    if (database === null) throw missing(attempted, 'the dump of the database');
    progress('the dump is read');
    const counted = async (sql: AsyncIterable<Buffer>): Promise<void> => {
      for await (const chunk of sql) plainBytes += chunk.length;
    };
    await pipeline(readPlainDump(opened(database), facts), counted, { signal });
  }
  const media = { files: 0, bytes: 0 };
  if (parts.includes('media')) {
    if (archive === null) throw missing(attempted, 'the archive of media');
    progress('the archive of media is read');
    for await (const { path, bytes } of mediaIn(opened(archive), signal)) {
      if (!path.startsWith('local_content/')) continue;
      media.files += 1;
      media.bytes += bytes;
    }
  }
  if (parts.includes('keys')) {
    if (key === null) throw missing(attempted, 'the signing key');
    await assertKey(folder, id, key);
  }
  const hashed = await checkHashes(folder, backup, read, signal);
  const serverName = facts.serverName ?? backup.serverName ?? null;
  if (serverName === null) throw new Failure('restore.refused', { attempted, reason: 'nothing in it tells which server it is of' });
  if (backup.serverName !== null && backup.serverName !== serverName)
    throw new Failure('backup.damaged', {
      attempted,
      reason: `${backup.manifest} says that it is of ${backup.serverName}, and the accounts in its dump are of ${serverName}`,
    });
  const { version, encoding, schemaVersion } = facts;
  return {
    ...{ read, hashed, media },
    summary: {
      ...{ id, serverName, databaseAt: backup.at },
      database: database && {
        kind: 'sql',
        encoding,
        schemaVersion,
        major: version === null ? null : Number.parseInt(version, 10),
        bytes: plainBytes,
      },
    },
    proven: null,
    database: (during) => {
      if (database === null) throw missing(attempted, 'the dump of the database');
      return compressed(readPlainDump(opened(database), { ...facts, serverName: null }), during);
    },
    files: (part) => (part === 'keys' && key !== null ? [keyTar(folder, id, key)] : []),
    packs:
      archive === null
        ? []
        : [{ name: archive.name, files: (during) => mediaIn(opened(archive), during), tar: (during) => mediaTar(opened(archive), during) }],
    remarks: (chosen) => remarksOf(backup, chosen),
  };
}

/** A file, decompressed. Read a second time it must be what it was. */
async function* whole(folder: ScriptsFolder, id: string, file: ScriptsFile, read: Map<string, string>): AsyncGenerator<Uint8Array> {
  const attempted = `read ${id}/${file.name} to its end`;
  const tally = new Tally();
  const { source, assertWhole } = toldApart(folder.read(id, file));
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of source()) {
      tally.add(chunk);
      yield chunk;
    }
  }
  if (file.bytes === 0) throw new Failure('backup.unreadable', { attempted, reason: 'it is empty' });
  if (!/gz$/.test(file.name)) yield* counted();
  else {
    const plain = createGunzip();
    const feeding = pipeline(counted, plain);
    feeding.catch(() => undefined);
    try {
      yield* plain as AsyncIterable<Buffer>;
      await feeding;
    } catch (error) {
      assertWhole();
      throw new Failure('backup.unreadable', { attempted, reason: `gzip: ${(error as Error).message}`, cause: error });
    } finally {
      plain.destroy();
    }
  }
  const [hash, before] = [tally.digest(), read.get(file.name)];
  if (before !== undefined && before !== hash)
    throw new Failure('backup.damaged', { attempted, reason: 'it is not what was read a moment ago' });
  read.set(file.name, hash);
}

/** Frames of zstd, of the lightest kind. */
async function* compressed(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const out = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } });
  const { source, assertWhole } = toldApart(chunks);
  const flow = pipeline(source, out, { signal });
  flow.catch(() => undefined);
  try {
    yield* out as AsyncIterable<Buffer>;
    await flow;
  } catch (error) {
    signal.throwIfAborted();
    assertWhole();
    throw error;
  } finally {
    out.destroy();
  }
}

async function assertKey(folder: ScriptsFolder, id: string, key: ScriptsFile): Promise<void> {
  const text = (await folder.content(id, key)).toString('utf8');
  if (!/^ed25519 \S+ [A-Za-z0-9+/]{43}=?\s*$/m.test(text))
    throw new Failure('backup.unreadable', { attempted: `read ${id}/${key.name}`, reason: 'it holds no signing key of Synapse' });
}

async function* keyTar(folder: ScriptsFolder, id: string, key: ScriptsFile): AsyncGenerator<Uint8Array> {
  const tar = pack();
  tar.entry({ name: 'signing.key', mode: 0o600 }, await folder.content(id, key));
  tar.finalize();
  yield* tar as AsyncIterable<Buffer>;
}

/** @returns names of the files that have the hash that was written */
async function checkHashes(
  folder: ScriptsFolder,
  { id, files, hashes }: ScriptsBackup,
  read: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<string[]> {
  const found: string[] = [];
  for (const list of hashes) {
    const under = list.name.includes('/') ? list.name.slice(0, list.name.lastIndexOf('/') + 1) : '';
    for (const line of (await folder.content(id, list)).toString('utf8').split('\n')) {
      const [, hash, name] = /^([0-9a-f]{64}) [ *](?:\.\/)?(.+)$/i.exec(line) ?? [];
      if (hash === undefined || name === undefined) continue;
      const path = files.find((file) => file.name === `${under}${name}`);
      if (path === undefined)
        throw new Failure('backup.missing', { attempted: `read ${id}`, reason: `${list.name} names ${name}, which is not there` });
      const have = read.get(path.name) ?? (await hashOf(folder.read(id, path), signal));
      if (have !== hash.toLowerCase())
        throw new Failure('backup.damaged', { attempted: `read ${id}`, reason: `${path.name} has not the hash that ${list.name} says` });
      found.push(path.name);
    }
  }
  return found;
}

async function hashOf(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    hash.update(chunk);
  }
  return hash.digest('hex');
}

const missing = (attempted: string, what: string): Failure =>
  new Failure('backup.missing', { attempted, reason: `${what} is not there`, hint: 'The other parts can be restored: `--only`.' });

function remarksOf({ secrets }: ScriptsBackup, parts: readonly RestorePart[]): string[] {
  const remarks: string[] = [];
  if (parts.includes('config')) remarks.push('the scripts back up no configuration: that of today stays');
  if (parts.includes('secrets') && secrets.length > 0)
    remarks.push(`${secrets.map(({ name }) => name).join(', ')} are Secrets of Kubernetes: they are not put back, today’s stay`);
  return remarks;
}
