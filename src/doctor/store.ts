import { statfs } from 'node:fs/promises';
import { fail, ok, warn, type Finding } from './line.ts';

const mebibyte = 1024 ** 2;
/** Free bytes below which the disk is told of, and below which it fails. */
const low = 1024 * mebibyte;
const nearlyFull = 256 * mebibyte;

export function lookAtStore(store: { isWritable(): boolean }): Finding {
  return store.isWritable()
    ? ok('it can be written')
    : fail('it cannot be written', 'Is the disk of `data_dir` full, or the file read-only?');
}

/** @param free reads the free bytes of the disk that a folder is on */
export async function lookAtDisk(folder: string, free: (path: string) => Promise<number> = freeBytes): Promise<Finding> {
  const bytes = await free(folder);
  const detail = `${bytes >= low ? `${(bytes / 1024 / mebibyte).toFixed(1)} GiB` : `${Math.floor(bytes / mebibyte)} MiB`} free in ${folder}`;
  const fix = 'Make space there: old copies `steward.db.v*`, the folder `exports`, or what else lies on that disk.';
  if (bytes < nearlyFull) return fail(detail, fix);
  return bytes < low ? warn(detail, fix) : ok(detail);
}

async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}
