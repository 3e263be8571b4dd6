import { chmod, chown, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { parseDocument, type Document } from 'yaml';
import { Failure } from '../../failures/failure.ts';
import { accountsIn } from '../accounts.ts';
import type { Direction, HeldFile, StagedFile } from '../stack.ts';
import { asSerdeYaml, type HostConfig } from '../mas-config.ts';
import { asPyYaml } from '../synapse-config.ts';
import { told } from './space.ts';
import { syncFolder } from './sync.ts';
import { causeOf } from './tar-read.ts';

/** Keys of homeserver.yaml, and of the configuration of MAS, that say where things are: the places, and the database's password, stay those of today. */
const placeKeys = ['database', 'databases', 'database_path', 'media_store_path', 'signing_key_path'];
const fileAtMost = 16 << 20;
const attempted = 'put keys, configuration and secrets aside';

/** Keys, configuration and secrets of a restore, held aside in a folder of Steward's own until they are swapped. */
export class FileRestore {
  /** In a folder that is named after the restore. */
  readonly #home: string;
  /** Going back does not ask: what was put in place may be what cannot be read. */
  readonly #config: () => Promise<HostConfig>;

  constructor(home: string, config: () => Promise<HostConfig>) {
    this.#home = home;
    this.#config = config;
  }

  /** @throws Failure `restore.unsafe-name`, `backup.unreadable`, `restore.no-space`; before anything live is touched */
  async stage(tar: AsyncIterable<Uint8Array>, signal: AbortSignal, to?: string): Promise<StagedFile[]> {
    const config = await this.#config();
    const { signingKeyPath, configFiles, includedFiles, secretFiles, mas } = config;
    const known = new Set([signingKeyPath, ...configFiles, ...includedFiles, ...secretFiles]);
    const isKnown = (path: string): boolean => known.has(path) || dirname(path) === mas?.keysDir;
    const staged: StagedFile[] = [];
    const seen = new Set<string>();
    const archive = extract();
    const feeding = pipeline(tar, archive, { signal });
    feeding.catch(() => undefined);
    try {
      for await (const entry of archive) {
        const { name, size, mode } = entry.header;
        assertPlain(entry.header);
        const path = to ?? `/${name}`;
        if (seen.has(path)) throw unsafe(entry.header, 'is there twice');
        seen.add(path);
        if (!isKnown(path)) {
          entry.resume();
          continue;
        }
        if (size > fileAtMost) throw unsafe(entry.header, `has ${size} bytes`);
        const content = await buffer(entry);
        staged.push({ path, live: await this.#keep(path, content, { mode, ...ownerOf(entry.header) }, config) });
      }
      await feeding;
    } catch (error) {
      throw told(await causeOf(feeding, error, attempted), attempted, this.#home);
    }
    return staged;
  }

  async put(path: string, content: Buffer): Promise<StagedFile> {
    try {
      const meta = { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
      return { path, live: await this.#keep(path, content, meta, await this.#config()) };
    } catch (error) {
      throw told(error, 'put keys and configuration aside', this.#home);
    }
  }

  /** Null for a file that is not held here. */
  async read(path: string): Promise<Buffer | null> {
    return readFile(join(this.#home, 'new', path)).catch(() => null);
  }

  async swap(direction: Direction): Promise<void> {
    const config = direction === 'in' ? await this.#config() : null;
    for (const path of await this.#list()) {
      const aside = join(this.#home, 'old', path);
      const none = `${aside}.none`;
      if (config !== null) {
        const live = await readFile(path).catch(() => null);
        const next = join(this.#home, 'new', path);
        const wanted = wantedAt(path, await readFile(next), live, config);
        if (live?.equals(wanted) === true) continue;
        if (live === null) await write(none, Buffer.alloc(0), { mode: 0o600, uid: 0, gid: 0 });
        // Kept once: a second run must not take what the first has put there for the old one.
        else if (!(await isThere(aside)) && !(await isThere(none))) await write(aside, live, await stat(path));
        const meta = await stat(next);
        await makeFolder(dirname(path), meta);
        await write(path, wanted, meta);
      } else if (await isThere(none)) {
        await rm(path, { force: true });
        await rm(none);
      } else if (await isThere(aside)) {
        await write(path, await readFile(aside), await stat(aside));
        await rm(aside);
      }
    }
  }

  /** Those that are held here, compared with what is live now. */
  async held(): Promise<HeldFile[]> {
    const found: HeldFile[] = [];
    const config = await this.#config();
    for (const path of await this.#list()) {
      const live = await readFile(path).catch(() => null);
      const isSame = live?.equals(wantedAt(path, await readFile(join(this.#home, 'new', path)), live, config)) === true;
      const aside = join(this.#home, 'old', path);
      const isReplaced = (await isThere(aside)) || (await isThere(`${aside}.none`));
      found.push({ path, live: live === null ? 'none' : isSame ? 'same' : 'other', isReplaced });
    }
    return found;
  }

  async drop(): Promise<void> {
    await rm(dirname(this.#home), { recursive: true, force: true });
  }

  async #keep(path: string, content: Buffer, meta: Meta, config: HostConfig): Promise<StagedFile['live']> {
    const live = await readFile(path).catch(() => null);
    const wanted = wantedAt(path, content, live, config);
    // What is the same now may be another at the cutover.
    await write(join(this.#home, 'new', path), wanted, live === null ? meta : await stat(path));
    await this.#add(path);
    return live === null ? 'none' : live.equals(wanted) ? 'same' : 'other';
  }

  async #list(): Promise<string[]> {
    const text = await readFile(join(this.#home, 'files.json'), 'utf8').catch(() => '[]');
    return JSON.parse(text) as string[];
  }

  async #add(path: string): Promise<void> {
    const all = [...new Set([...(await this.#list()), path])];
    await write(join(this.#home, 'files.json'), Buffer.from(JSON.stringify(all)), {
      mode: 0o600,
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
    });
  }
}

interface Meta {
  mode: number;
  uid: number;
  gid: number;
}

/** By name, where this machine has it: another machine has given its users other numbers. */
function ownerOf({ uid, gid, uname, gname }: Header): { uid: number; gid: number } {
  return { uid: accountsIn('/etc/passwd').idOf(uname) ?? uid, gid: accountsIn('/etc/group').idOf(gname) ?? gid };
}

/** @throws Failure `restore.unsafe-name` for what no archive of Steward's has: anything but files, each at its path below `/` */
function assertPlain(header: Header): void {
  const { name, type, size } = header;
  if (type !== 'file' || !Number.isSafeInteger(size) || size < 0) throw unsafe(header, 'is no file');
  const parts = name.split('/');
  // As Linux has them: 255 bytes a part, 4096 a path.
  const isTooLong = Buffer.byteLength(name) > 4095 || parts.some((part) => Buffer.byteLength(part) > 255);
  if (isTooLong || parts.some((part) => part === '' || part === '.' || part === '..') || /\p{Cc}/u.test(name))
    throw unsafe(header, 'is no path of a file');
}

function unsafe({ name, type }: Header, what: string): Failure {
  const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name;
  return new Failure('restore.unsafe-name', { attempted, reason: `${JSON.stringify(shown)} (${type}) ${what}` });
}

/** Whole or not at all, durable, with its mode and, for root, its owner. */
async function write(path: string, content: Buffer, { mode, uid, gid }: Meta): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // Synapse reads every *.yaml of a folder.
  const unfinished = `${path}.steward-partial`;
  await writeFile(unfinished, content, { mode: 0o600, flush: true });
  await chmod(unfinished, mode & 0o7777);
  if (process.getuid?.() === 0) await chown(unfinished, uid, gid);
  await rename(unfinished, path);
  await syncFolder(dirname(path));
}

/** Those that are made belong to whom the file does, who must be able to enter them. */
async function makeFolder(folder: string, { uid, gid }: Meta): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first === undefined || process.getuid?.() !== 0) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) await chown(made, uid, gid);
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** This content as it goes to its place, where the places that are in force stay. */
function wantedAt(path: string, content: Buffer, live: Buffer | null, { configFiles, mas }: HostConfig): Buffer {
  if (live === null || live.equals(content)) return content;
  if (configFiles.includes(path)) return withPlacesOf(content, live, asPyYaml);
  return mas?.configFiles.includes(path) === true ? withPlacesOf(content, live, asSerdeYaml) : content;
}

/** A file of configuration with the places that are in force now. */
function withPlacesOf(content: Buffer, live: Buffer, dialect: typeof asPyYaml): Buffer {
  const [restored, now] = [parsed(content, dialect), parsed(live, dialect)];
  if (restored === null || now === null) return content;
  const values = now.toJS() as Record<string, unknown>;
  for (const key of placeKeys) {
    if (key in values) restored.set(key, values[key]);
    else restored.delete(key);
  }
  return Buffer.from(restored.toString({ lineWidth: 0 }));
}

function parsed(content: Buffer, dialect: typeof asPyYaml): Document | null {
  const document = parseDocument(content.toString('utf8'), dialect);
  return document.errors.length > 0 || typeof document.toJS() !== 'object' || document.toJS() === null ? null : document;
}
