import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ModelPlace } from './place.ts';
import { tryHistories } from './try.ts';

// node test/model/batches.ts --progress FILE [--first SEED] [--batches N] [--size N] [--part K/N]: histories in batches,
// each of a seed of its own. FILE gets a line for each batch that is over, and batches that are in it already are left
// out: who is stopped goes on where it was, and two processes with two parts share the work.

/** What one line of a progress file says. */
export interface BatchRecord {
  seed: number;
  size: number;
  /** What was found, or null where all was as it must be. */
  fault: string | null;
}

/** The batches that are over. */
export function readBatches(path: string): BatchRecord[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n');
  // A last line without an end was cut off.
  return lines.slice(0, -1).map((line) => JSON.parse(line) as BatchRecord);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      progress: { type: 'string' },
      first: { type: 'string', default: '0' },
      batches: { type: 'string', default: '1000' },
      size: { type: 'string', default: '1000' },
      part: { type: 'string', default: '0/1' },
    },
  });
  if (values.progress === undefined) throw new Error('--progress FILE is missing');
  const [first, batches, size] = [values.first, values.batches, values.size].map(Number) as [number, number, number];
  const [part, parts] = values.part.split('/').map(Number) as [number, number];
  const over = new Set(readBatches(values.progress).map(({ seed }) => seed));
  const place = new ModelPlace();
  for (let batch = part; batch < batches; batch += parts) {
    const seed = first + batch;
    if (over.has(seed)) continue;
    const fault = await tryHistories(place, size, { seed }).then(
      () => null,
      (error: unknown) => wordsOf(error),
    );
    if (fault !== null) process.exitCode = 1;
    appendFileSync(values.progress, `${JSON.stringify({ seed, size, fault } satisfies BatchRecord)}\n`);
  }
  place.close();
}

/** What a property says of its failure, and why it failed. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}\n${wordsOf(error.cause)}`;
}

if (import.meta.main) await main();
