import { createReadStream } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack, type Pack } from 'tar-stream';
import { accountsIn } from '../stack/accounts.ts';
import { inThread } from '../stack/thread.ts';
import type { StoreCopy } from './own-worker.ts';

/** What Steward itself is made of. */
export interface OwnPart {
  /** File of the store, absolute. */
  storePath: string;
  /** For a copy of the store on its way; on the same disk. */
  scratch: string;
  /** Configuration, its secret files, keys; absolute. One that is not there is left out. */
  files: () => readonly string[];
  /** Variables of the environment that are part of the configuration. */
  environment: () => Readonly<Record<string, string>>;
  /** Where they are put in the archive, absolute: a line each, as systemd and Docker take it. */
  environmentPath: string;
}

/**
 * A tar of Steward itself, by absolute path as `tar -x -C /` takes it: configuration and secrets, its keys, and the store with
 * roles, schedules, audit and catalogue. Of its device only the recovery material is in it; which media a destination holds is
 * read there again, by `backup scan`.
 *
 * @param id names the copy of the store while it is read
 */
export async function* ownTar(
  { storePath, scratch, files, environment, environmentPath }: OwnPart,
  id: string,
): AsyncGenerator<Uint8Array> {
  const copy = join(scratch, `store-${id}.db`);
  try {
    await mkdir(scratch, { recursive: true, mode: 0o700 });
    await copyStore({ from: storePath, to: copy });
    const archive = pack();
    const feeding = (async () => {
      for (const path of new Set(files())) await add(archive, path, path);
      const lines = Object.entries(environment()).map(([name, value]) => `${name}=${value}\n`);
      if (lines.length > 0) archive.entry({ name: environmentPath.slice(1), mode: 0o600 }, lines.join(''));
      await add(archive, copy, storePath);
      archive.finalize();
    })();
    feeding.catch((error: unknown) => archive.destroy(error as Error));
    yield* archive as AsyncIterable<Buffer>;
    await feeding;
  } finally {
    await rm(copy, { force: true });
  }
}

/** In a thread: it takes as long as what the store holds. */
async function copyStore(files: StoreCopy): Promise<void> {
  await inThread(new URL('./own-worker.ts', import.meta.url), files, Readable.from([])).next();
}

async function add(archive: Pack, path: string, as: string): Promise<void> {
  const file = await open(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return;
  try {
    const { size, mode, mtime, uid, gid } = await file.stat();
    const written = Promise.withResolvers<undefined>();
    const owner = { uid, gid, uname: accountsIn('/etc/passwd').nameOf(uid), gname: accountsIn('/etc/group').nameOf(gid) };
    const header = { name: as.slice(1), size, mode: mode & 0o7777, mtime, ...owner };
    const entry = archive.entry(header, (error) => (error == null ? written.resolve(undefined) : written.reject(error)));
    await pipeline(createReadStream('', { fd: file, autoClose: false, start: 0, ...(size === 0 ? {} : { end: size - 1 }) }), entry);
    await written.promise;
  } finally {
    await file.close();
  }
}
