import { afterAll, expect, jest, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBatches } from '../model/batches.ts';

/** The random histories of test/integration/model.test.ts, by two processes. With TEST_PROGRESS=FILE they go on where that file ends. */

jest.setTimeout(6 * 3600_000);

const size = 500;
const histories = Number(process.env['TEST_HISTORIES'] ?? 1_000_000);
const first = Number(process.env['TEST_SEED'] ?? 0);
const work = mkdtempSync(join(tmpdir(), 'steward-histories-'));
const progress = process.env['TEST_PROGRESS'] ?? join(work, 'progress.jsonl');

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

function tryPart(part: string): Promise<number | null> {
  const program = join(import.meta.dirname, '..', 'model', 'batches.ts');
  const batches = String(Math.ceil(histories / size));
  const options = { progress, first: String(first), batches, size: String(size), part };
  const words = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...words], { stdio: 'inherit' });
  return new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
}

test(`in ${histories} histories nothing runs without its leave, nothing twice, nothing is lost`, async () => {
  const codes = await Promise.all([tryPart('0/2'), tryPart('1/2')]);

  const over = readBatches(progress);
  expect(over.filter(({ fault }) => fault !== null)).toEqual([]);
  expect(codes).toEqual([0, 0]);
  const wanted = Array.from({ length: Math.ceil(histories / size) }, (_, batch) => first + batch);
  expect(wanted.filter((seed) => !over.some((batch) => batch.seed === seed))).toEqual([]);
});
