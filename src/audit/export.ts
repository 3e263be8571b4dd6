import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { AuditRows } from '../store/audit-rows.ts';
import { storeFailure } from '../store/store.ts';
import { canonical } from './chain.ts';
import { ChainCheck } from './check.ts';
import { unwritable } from './files.ts';
import type { SignedHead } from './head.ts';
import { lineOf } from './line.ts';

/** Records that are read and written at once. */
const page = 1000;

export interface Exported {
  path: string;
}

export interface ExportRead {
  path: string;
  records: number;
  /** Number of the last record. */
  seq: number;
  head: string;
}

/**
 * Writes the records from number `first` to the head into a file that ends with the signed head, and its SHA-256 beside it
 * in the form of `sha256sum`. The file has its name when it is whole.
 *
 * @throws Failure `audit.unwritable`
 */
export async function writeExport(rows: AuditRows, head: SignedHead, first: number, dir: string, unique: string): Promise<Exported> {
  const path = join(dir, `audit-${first}-${head.seq}-${unique}.jsonl`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const digest = await writeFile(`${path}.tmp`, async (file) => {
      const hash = createHash('sha256');
      const write = async (text: string): Promise<void> => {
        hash.update(text);
        await file.writeFile(text);
      };
      for (let seq = first - 1; seq < head.seq;) {
        const found = rows.after(seq, Math.min(page, head.seq - seq));
        await write(found.map(lineOf).join(''));
        seq = found.at(-1)?.seq ?? head.seq;
      }
      await write(`${canonical({ head })}\n`);
      return hash.digest('hex');
    });
    await writeFile(`${path}.sha256`, (file) => file.writeFile(`${digest}  ${basename(path)}\n`));
    await rename(`${path}.tmp`, path);
  } catch (error) {
    for (const left of [`${path}.tmp`, `${path}.sha256`]) await rm(left, { force: true });
    throw unwritable(storeFailure(error, 'write the export'));
  }
  return { path };
}

/** What an export holds, when it is whole and its sum is the one beside it; else null. */
export async function readExport(path: string): Promise<ExportRead | null> {
  const hash = createHash('sha256');
  const check = new ChainCheck();
  for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(piece);
    if (!check.push(piece)) return null;
  }
  const { broken, head, records, seq, signed } = check.end();
  const sum = await readFile(`${path}.sha256`, 'utf8');
  if (broken !== null || signed === null || head === null || sum !== `${hash.digest('hex')}  ${basename(path)}\n`) return null;
  return { path, records, seq, head };
}

async function writeFile<T>(path: string, write: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, 'wx', 0o600);
  try {
    const result = await write(file);
    await file.sync();
    return result;
  } finally {
    await file.close();
  }
}
