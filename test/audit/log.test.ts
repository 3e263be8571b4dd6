import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { AuditEntry } from '../../src/audit/audit.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { AuditRows } from '../../src/store/audit-rows.ts';
import { Store } from '../../src/store/store.ts';

let dir: string;
let store: Store;
let now: number;
const clock: Clock = { ...systemClock, now: () => now };
let log: AuditLog;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'audit-'));
  store = Store.open(join(dir, 'steward.db'));
  now = Date.UTC(2026, 10, 25);
  log = new AuditLog(store, new AuditRows(store), clock);
});

afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true });
});

const entry = (n: number): AuditEntry => ({
  event: 'job.done',
  actor: { kind: 'person', person: 'alice', userId: '@alice:x', trust: { kind: 'plain' } },
  command: 'user create',
  jobId: `job${n}`,
  targets: [`@ünï${n}:x`],
});

interface Row {
  seq: number;
  at: number;
  prev: string;
  hash: string;
  record: string;
}

const rows = (): Row[] => store.database.prepare('SELECT seq, at, prev, hash, record FROM audit ORDER BY seq').all() as unknown as Row[];

describe('a record', () => {
  test('holds the hash of the one before, over canonical JSON', () => {
    for (let n = 1; n <= 3; n += 1) log.record(entry(n));
    let prev = '0'.repeat(64);
    for (const [at, row] of rows().entries()) {
      expect(row.seq).toBe(at + 1);
      expect(row.prev).toBe(prev);
      expect(row.hash).toBe(
        createHash('sha256')
          .update(prev + row.record, 'utf8')
          .digest('hex'),
      );
      prev = row.hash;
    }
    expect(rows()[0]?.record).toBe(
      `{"actor":{"kind":"person","person":"alice","trust":{"kind":"plain"},"user_id":"@alice:x"},"at":"2026-11-25T00:00:00.000Z","command":"user create","event":"job.done","job_id":"job1","seq":1,"targets":["@ünï1:x"],"version":"${(JSON.parse(rows()[0]?.record ?? '{}') as { version: string }).version}"}`,
    );
  });

  test('is not there when what it tells of was not kept', () => {
    expect(() =>
      store.transaction(() => {
        log.record(entry(1));
        throw new Error('no');
      }),
    ).toThrow('no');
    log.record(entry(2));
    expect(rows().map(({ record }) => (JSON.parse(record) as { job_id: string }).job_id)).toEqual(['job2']);
  });

  test('is neither changed nor removed nor put between others by the store', () => {
    log.record(entry(1));
    log.record(entry(2));
    const { database } = store;
    expect(() => database.exec("UPDATE audit SET record = '{}' WHERE seq = 1")).toThrow('never changed');
    expect(() => database.exec('DELETE FROM audit WHERE seq = 2')).toThrow('never removed');
    expect(() => database.exec("INSERT INTO audit VALUES (7, 1, '', '', '{}', 'x', NULL, NULL)")).toThrow('follows the last');
    expect(() => database.exec("INSERT INTO audit VALUES (3, 1, 'x', '', '{}', 'x', NULL, NULL)")).toThrow('follows the last');
  });

  test('follows the last one also when the clock was set back', async () => {
    log.record(entry(1));
    now -= 86_400_000;
    log.record(entry(2));
    expect(rows().map(({ seq }) => seq)).toEqual([1, 2]);
    expect(await log.verify()).toMatchObject({ records: 2, broken: null });
  });
});

/** Somebody with the file and time: the triggers are no protection from him. */
function tamper(sql: string): void {
  const database = new DatabaseSync(join(dir, 'steward.db'));
  database.exec('DROP TRIGGER audit_stays; DROP TRIGGER audit_is_kept; DROP TRIGGER audit_in_order');
  database.exec(sql);
  database.close();
}

describe('verification', () => {
  test('of a whole chain says how many and the head', async () => {
    store.transaction(() => {
      for (let n = 1; n <= 2500; n += 1) log.record(entry(n));
    });
    expect(await log.verify()).toEqual({ records: 2500, head: rows().at(-1)?.hash, broken: null });
  });

  test.each([
    ['changed', "UPDATE audit SET record = replace(record, 'job3', 'jobX') WHERE seq = 3", { seq: 3, fault: 'changed' }],
    ['removed', 'DELETE FROM audit WHERE seq = 3', { seq: 3, fault: 'missing' }],
    [
      'removed, with the rest moved up',
      'DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4',
      { seq: 3, fault: 'unlinked' },
    ],
  ])('finds a record that was %s', async (_, sql, broken) => {
    for (let n = 1; n <= 4; n += 1) log.record(entry(n));
    tamper(sql);
    expect(await log.verify()).toMatchObject({ records: 2, broken });
  });
});
