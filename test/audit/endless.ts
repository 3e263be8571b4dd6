// Records until it is killed: node test/audit/endless.ts FOLDER
import { join } from 'node:path';
import { systemClock } from '../../src/clock.ts';
import { Store } from '../../src/store/store.ts';
import { auditOf } from './support.ts';

const dir = process.argv[2] ?? '';
// In the month of the file that the test reads.
const clock = { ...systemClock, now: () => Date.UTC(2026, 10, 25) };
const log = auditOf(Store.open(join(dir, 'steward.db')), dir, clock);
for (let n = 0; ; n += 1) log.record({ event: 'job.done', actor: { kind: 'shell' }, jobId: `job${n}` });
