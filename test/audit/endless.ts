// Records until it is killed: node test/audit/endless.ts FOLDER
import { join } from 'node:path';
import { Store } from '../../src/store/store.ts';
import { auditOf } from './support.ts';

const dir = process.argv[2] ?? '';
const log = auditOf(Store.open(join(dir, 'steward.db')), dir);
for (let n = 0; ; n += 1) log.record({ event: 'job.done', actor: { kind: 'shell' }, jobId: `job${n}` });
