import { createReadStream, existsSync } from 'node:fs';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Failure } from '../../failures/failure.ts';
import { buffer } from '../../stack/stream.ts';

/** A file of a backup of the scripts. */
export interface ScriptsFile {
  /** From the backup's folder. */
  name: string;
  bytes: number;
}

/** A backup that the scripts made, as it lies there; nothing of it was read but its text. */
export interface ScriptsBackup {
  /** `20261122_021500`, the name of its folder. */
  id: string;
  /** `MANIFEST.txt` or `backup-info.txt`, which the script writes last; null where it did not come so far. */
  manifest: string | null;
  /** As its text says; null where it does not. */
  serverName: string | null;
  /** Milliseconds since the epoch. Without a text that tells it, the folder's name taken as UTC. */
  at: number;
  bytes: number;
  files: readonly ScriptsFile[];
  database: ScriptsFile | null;
  media: ScriptsFile | null;
  key: ScriptsFile | null;
  /** Secrets of Kubernetes. */
  secrets: readonly ScriptsFile[];
  /** Files with hashes, in the form of `sha256sum`. */
  hashes: readonly ScriptsFile[];
}

/** What is in it, in the words of a restore's parts. */
export function holdsOf({ database, media, key, secrets }: ScriptsBackup): string[] {
  const parts = { database, media, keys: key, secrets: secrets[0] ?? null };
  return Object.entries(parts).flatMap(([part, file]) => (file === null ? [] : [part]));
}

/** What stands for the folder where a place for backups is named. */
export const scriptsPlace = 'scripts';

const backupFolder = /^\d{8}_\d{6}$/;
const textAtMost = 1 << 20;
const forms = {
  database: /^database\/[^/]+\.sql(\.gz)?$/,
  media: /^media\/[^/]+\.(tar\.gz|tgz)$/,
  key: /^keys\/[^/]*\.signing\.key$/,
};

/** The folder that `backup.sh` fills. It is only read. */
export class ScriptsFolder {
  readonly path: string;
  /** Why it could not be listed when that was last tried, or null. */
  problem: string | null = null;

  constructor(path: string) {
    this.path = path;
  }

  /** Newest first. @throws Failure `backup.destination-failed` */
  async list(): Promise<ScriptsBackup[]> {
    const names = await readdir(this.path).catch((error: unknown) => {
      this.problem = (error as NodeJS.ErrnoException).code ?? 'unknown';
      throw this.#failure(error);
    });
    this.problem = null;
    const ids = names.filter((name) => backupFolder.test(name)).sort((one, other) => (one < other ? 1 : -1));
    const found = await Promise.all(ids.map((id) => this.get(id)));
    return found.filter((backup) => backup !== null);
  }

  /** Null where there is none; one of Steward's own is none. */
  async get(id: string): Promise<ScriptsBackup | null> {
    const files = await this.#files(id, '');
    const file = (form: RegExp): ScriptsFile | null => files.find(({ name }) => form.test(name)) ?? null;
    const [database, media, key] = [file(forms.database), file(forms.media), file(forms.key)];
    const manifest = file(/^(MANIFEST|backup-info)\.txt$/i);
    if (files.some(({ name }) => name === 'manifest.json') || (manifest === null && database === null && media === null)) return null;
    const text = manifest === null || manifest.bytes > textAtMost ? '' : (await this.content(id, manifest)).toString('utf8');
    const date = Date.parse(/^Backup Date:\s*(.+)$/im.exec(text)?.[1] ?? '');
    return {
      ...{ id, files, database, media, key },
      manifest: manifest?.name ?? null,
      serverName: /^Server Name:\s*(\S+)\s*$/im.exec(text)?.[1] ?? null,
      at: Number.isNaN(date) ? timeOf(id) : date,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      secrets: files.filter(({ name }) => /^secrets\/[^/]+\.ya?ml$/.test(name)),
      hashes: files.filter(({ name }) => /(^|\/)(sha256sums?(\.txt)?|[^/]+\.sha256)$/i.test(name)),
    };
  }

  /**
   * The backup of an id, or for `latest` the one that the scripts' link names, else the newest that is finished.
   *
   * @throws Failure `backup.not-found`, `backup.destination-failed`
   */
  async find(id: string): Promise<ScriptsBackup> {
    const found = id === 'latest' ? await this.#latest() : await this.get(id);
    if (found === null) throw new Failure('backup.not-found', { attempted: `find the backup ${id} in ${this.path}` });
    return found;
  }

  async #latest(): Promise<ScriptsBackup | null> {
    const link = join(this.path, 'latest');
    // Copied with its folder it may have become a file with the name.
    const named = await readlink(link)
      .catch(() => readFile(link, 'utf8'))
      .catch(() => '');
    const id = basename(named.trim());
    const linked = backupFolder.test(id) ? await this.get(id) : null;
    return linked ?? (await this.list()).find(({ manifest }) => manifest !== null) ?? null;
  }

  /** The folder may be a destination's too. */
  hasFolder(id: string): boolean {
    return existsSync(join(this.path, id));
  }

  read(id: string, { name }: ScriptsFile): AsyncIterable<Uint8Array> {
    return createReadStream(join(this.path, id, name), { highWaterMark: buffer }) as AsyncIterable<Buffer>;
  }

  /** A small file, whole. */
  content(id: string, { name }: ScriptsFile): Promise<Buffer> {
    return readFile(join(this.path, id, name));
  }

  /** Plain files, and no links: where those lead is not the backup's. */
  async #files(id: string, under: string): Promise<ScriptsFile[]> {
    const folder = join(this.path, id, under);
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return [];
      throw this.#failure(error);
    });
    const files: ScriptsFile[] = [];
    for (const entry of entries) {
      const name = under === '' ? entry.name : `${under}/${entry.name}`;
      if (entry.isDirectory()) files.push(...(await this.#files(id, name)));
      else if (entry.isFile()) files.push({ name, bytes: (await lstat(join(folder, entry.name))).size });
    }
    return files.sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  #failure(error: unknown): Failure {
    const { code } = error as NodeJS.ErrnoException;
    return new Failure('backup.destination-failed', {
      attempted: 'look for backups of the scripts',
      reason: `${this.path}: ${code ?? 'unknown'}`,
      cause: error,
    });
  }
}

function timeOf(id: string): number {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)$/.exec(id) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
