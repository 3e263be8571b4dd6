import { createHash } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { beginning, canonical, hashOf } from '../src/audit/chain.ts';
import { lineOf } from '../src/audit/line.ts';
import { recordOf } from '../src/audit/record.ts';
import { ratioLimit, type Limit } from './limit.ts';
import { timed } from './program.ts';

const records = 1_000_000;
const main = resolve(import.meta.dirname, '../src/main.ts');

/** A million records in an exported file, against `sha256sum` of the same bytes. */
export async function auditVerify(): Promise<Limit[]> {
  const dir = await mkdtemp(join(tmpdir(), 'bench-audit-'));
  const path = join(dir, 'audit.jsonl');
  try {
    const bytes = await write(path);
    const ours = [process.execPath, '--disable-warning=ExperimentalWarning', main, 'audit', 'verify', path];
    const theirs = ['sha256sum', path];
    const steward: number[] = [];
    const rival: number[] = [];
    for (let round = -1; round < 7; round += 1) {
      const turns = [async () => rival.push(await timed(theirs)), async () => steward.push(await timed(ours))];
      for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
      if (round < 0) steward.length = rival.length = 0;
    }
    return [
      ratioLimit(
        'audit-verify',
        // Half the throughput is twice the time.
        2,
        { ran: 'steward audit verify audit.jsonl', unit: 's', values: steward },
        { ran: 'sha256sum audit.jsonl', unit: 's', values: rival },
        `${records} records, ${Math.round(bytes / 1_000_000)} MB, whole processes, file in the page cache`,
      ),
    ];
  } finally {
    await rm(dir, { recursive: true });
  }
}

/** @returns how many bytes were written */
async function write(path: string): Promise<number> {
  const file = await open(path, 'wx');
  let prev = beginning;
  let bytes = 0;
  for (let seq = 1; seq <= records;) {
    const lines: string[] = [];
    for (const end = seq + 1000; seq < end; seq += 1) {
      const record = canonical(
        recordOf(
          {
            event: 'job.done',
            actor: { kind: 'person', person: 'alice', userId: '@alice:example.org', trust: { kind: 'plain' } },
            command: 'user update-password',
            tier: 'confirmed',
            jobId: `job${seq}`,
            planHash: createHash('sha256').update(String(seq)).digest('hex'),
            targets: [`@user${seq}:example.org`],
            duration: seq % 1000,
          },
          seq,
          1_795_000_000_000 + seq,
          '1.0.0',
        ),
      );
      const hash = hashOf(prev, record);
      lines.push(lineOf({ hash, prev, record }));
      prev = hash;
    }
    bytes += (await file.write(lines.join(''))).bytesWritten;
  }
  await file.close();
  return bytes;
}
