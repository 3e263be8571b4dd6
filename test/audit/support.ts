import { join } from 'node:path';
import { AuditLog } from '../../src/audit/log.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { AuditRows } from '../../src/store/audit-rows.ts';
import { Facts } from '../../src/store/facts.ts';
import type { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';

/** The audit of a store, with its files in `dir`. */
export function auditOf(store: Store, dir: string, clock: Clock = systemClock): AuditLog {
  return new AuditLog({
    store,
    rows: new AuditRows(store),
    facts: new Facts(store),
    clock,
    log: silentLog,
    dir: join(dir, 'audit'),
    exports: join(dir, 'exports'),
  });
}
