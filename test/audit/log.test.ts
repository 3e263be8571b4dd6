import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { AuditEntry } from '../../src/audit/audit.ts';
import { ChainCheck } from '../../src/audit/check.ts';
import type { AuditLog } from '../../src/audit/log.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { Store } from '../../src/store/store.ts';
import { auditFileOf, verifyAuditFile } from '../../src/terminal/audit-file.ts';
import { auditOf } from './support.ts';

let dir: string;
let store: Store;
let now: number;
const clock: Clock = { ...systemClock, now: () => now };
let log: AuditLog;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'audit-'));
  store = Store.open(join(dir, 'steward.db'));
  now = Date.UTC(2026, 10, 25);
  log = auditOf(store, dir, clock);
});

afterEach(() => {
  log.close();
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

/** Records 1 to `count`, in one transaction. */
function recordMany(count: number): void {
  store.transaction(() => {
    for (let n = 1; n <= count; n += 1) log.record(entry(n));
  });
}

interface Row {
  seq: number;
  at: number;
  prev: string;
  hash: string;
  record: string;
}

const rows = (): Row[] => store.database.prepare('SELECT seq, at, prev, hash, record FROM audit ORDER BY seq').all() as unknown as Row[];
const file = (month = '2026-11'): string => join(dir, 'audit', `${month}.jsonl`);
const lines = (month?: string): string[] => readFileSync(file(month), 'utf8').split('\n').slice(0, -1);
const sha256 = (text: string): string => createHash('sha256').update(text, 'utf8').digest('hex');

/** Started again, as after a crash. */
function again(): void {
  log.close();
  log = auditOf(store, dir, clock);
}

describe('a record', () => {
  test('holds the hash of the one before, over canonical JSON, in the store and in the file', () => {
    recordMany(3);
    let prev = '0'.repeat(64);
    for (const [at, row] of rows().entries()) {
      expect(row).toMatchObject({ seq: at + 1, prev, hash: sha256(prev + row.record) });
      expect(JSON.parse(lines()[at] ?? '')).toEqual({ hash: row.hash, prev, record: JSON.parse(row.record) as unknown });
      expect(lines()[at]).toContain(row.record);
      prev = row.hash;
    }
    expect(rows()[0]?.record).toMatch(
      /^\{"actor":\{"kind":"person","person":"alice","trust":\{"kind":"plain"\},"user_id":"@alice:x"\},"at":"2026-11-25T00:00:00.000Z","command":"user create","event":"job.done","job_id":"job1","seq":1,"targets":\["@ünï1:x"\],"version":"[\d.]+"\}$/,
    );
    expect([statSync(file()).mode & 0o777, statSync(join(dir, 'audit')).mode & 0o777]).toEqual([0o600, 0o700]);
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
    expect(lines()).toHaveLength(1);
  });

  test('is neither changed nor removed nor put between others by the store', () => {
    recordMany(2);
    const { database } = store;
    expect(() => database.exec("UPDATE audit SET record = '{}' WHERE seq = 1")).toThrow('never changed');
    expect(() => database.exec('DELETE FROM audit WHERE seq = 2')).toThrow('never removed');
    expect(() => database.exec("INSERT INTO audit VALUES (7, 1, '', '', '{}', 'x', NULL, NULL)")).toThrow('follows the last');
    expect(() => database.exec("INSERT INTO audit VALUES (3, 1, 'x', '', '{}', 'x', NULL, NULL)")).toThrow('follows the last');
  });

  test('follows the last one also when the clock was set back, in the same file', async () => {
    log.record(entry(1));
    now -= 40 * 86_400_000;
    log.record(entry(2));
    now += 80 * 86_400_000;
    log.record(entry(3));
    expect(rows().map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect([lines().length, lines('2027-01').length]).toEqual([2, 1]);
    expect(await log.verify(true)).toMatchObject({ records: 3, broken: null });
  });
});

describe('a crash between store and file', () => {
  test.each([
    ['before the line', 0],
    ['in the middle of the line', 60],
    ['before its line feed', -1],
  ])('%s leaves neither a gap nor a duplicate', async (_, keep) => {
    recordMany(3);
    const before = readFileSync(file());
    const start = before.lastIndexOf('\n', before.length - 2) + 1;
    truncateSync(file(), keep < 0 ? before.length + keep : start + keep);
    again();
    expect(readFileSync(file()).equals(before)).toBe(true);
    log.record(entry(4));
    expect(await log.verify(true)).toMatchObject({ records: 4, broken: null });
  });

  test('and the loss of all files brings them back whole', async () => {
    recordMany(2500);
    const before = readFileSync(file());
    rmSync(file());
    again();
    expect(readFileSync(file()).equals(before)).toBe(true);
    expect(await log.verify(true)).toMatchObject({ records: 2500, broken: null });
  });

  test('that the store did not survive is recorded, and the file is kept beside', async () => {
    recordMany(3);
    store.close();
    for (const name of readdirSync(dir)) if (name.startsWith('steward.db')) rmSync(join(dir, name));
    store = Store.open(join(dir, 'steward.db'));
    const before = readFileSync(file());
    again();
    log.record(entry(1));
    expect(rows().map(({ record }) => JSON.parse(record) as unknown)).toMatchObject([
      { event: 'audit.forked', detail: { file: '2026-11.jsonl.aside-1' } },
      { event: 'job.done' },
    ]);
    expect(readFileSync(`${file()}.aside-1`).equals(before)).toBe(true);
    expect(await log.verify(true)).toMatchObject({ records: 2, broken: null });
  });

  test('by kill -9 at any moment is made good', () => {
    log.close();
    store.close();
    const writer = join(import.meta.dirname, 'endless.ts');
    for (let round = 0; round < 3; round += 1) {
      // The child is killed by the timeout, wherever it is by then.
      spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', writer, dir], {
        timeout: 1500 + 37 * round,
        killSignal: 'SIGKILL',
      });
      store = Store.open(join(dir, 'steward.db'));
      log = auditOf(store, dir, clock);
      const kept = rows();
      expect(lines().map((line) => (JSON.parse(line) as { hash: string }).hash)).toEqual(kept.map(({ hash }) => hash));
      log.close();
      store.close();
    }
    store = Store.open(join(dir, 'steward.db'));
    expect(rows().length).toBeGreaterThan(0);
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
  test('of a whole chain says how many and the signed head, and then reads on from there', async () => {
    recordMany(2500);
    expect(await log.verify(false)).toMatchObject({
      records: 2500,
      after: 0,
      head: { seq: 2500, hash: rows().at(-1)?.hash },
      broken: null,
    });
    log.record(entry(2501));
    again();
    expect(await log.verify(false)).toMatchObject({ records: 1, after: 2500, broken: null });
    expect(await log.verify(true)).toMatchObject({ records: 2501, after: 0, broken: null });
  });

  test('does not take the word of somebody without the key for what was verified', async () => {
    recordMany(4);
    await log.verify(false);
    tamper('UPDATE facts SET value = replace(value, \'"signature":"\', \'"signature":"A\') WHERE name = \'audit_verified\'');
    expect(await log.verify(false)).toMatchObject({ records: 4, after: 0, broken: null });
  });

  test.each([
    ['changed', "UPDATE audit SET record = replace(record, 'job3', 'jobX') WHERE seq = 3", { where: 'store', seq: 3, fault: 'changed' }],
    ['removed', 'DELETE FROM audit WHERE seq = 3', { where: 'store', seq: 3, fault: 'missing' }],
    [
      'removed, with the rest moved up',
      'DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4',
      { where: 'store', seq: 3, fault: 'unlinked' },
    ],
    ['cut off at the end', 'DELETE FROM audit WHERE seq = 4', { where: 'store', seq: 4, fault: 'missing' }],
  ])('finds a record of the store that was %s', async (_, sql, broken) => {
    recordMany(4);
    tamper(sql);
    expect((await log.verify(true)).broken).toEqual(broken);
  });

  test.each([
    ['changed', (all: string[]) => all.with(1, (all[1] ?? '').replace('job2', 'jobX')), { seq: 2, fault: 'changed' }],
    ['removed', (all: string[]) => all.toSpliced(1, 1), { seq: 2, fault: 'missing' }],
    ['moved', (all: string[]) => [all[0], all[2], all[1], all[3]], { seq: 2, fault: 'missing' }],
    ['written twice', (all: string[]) => all.toSpliced(2, 0, all[1] ?? ''), { seq: 3, fault: 'moved' }],
    ['put in', (all: string[]) => all.toSpliced(1, 0, 'something else'), { seq: 2, fault: 'cut' }],
    ['cut off', (all: string[]) => all.slice(0, 3), { seq: 4, fault: 'missing' }],
  ])('finds a line of the file that was %s', async (_, change, broken) => {
    recordMany(4);
    writeFileSync(file(), change(lines()).join('\n') + '\n');
    expect((await log.verify(true)).broken).toEqual({ where: '2026-11.jsonl', ...broken });
  });

  test('finds any change of any byte, any line taken out, put in or moved, and any cut', async () => {
    recordMany(8);
    const { path } = await log.export(null);
    const whole = readFileSync(path);
    const verdictOf = (bytes: Buffer): boolean => {
      const check = new ChainCheck();
      // In pieces: lines are cut wherever a read ends.
      for (let at = 0; at < bytes.length; at += 777) if (!check.push(Buffer.from(bytes.subarray(at, at + 777)))) break;
      const { broken, records, signed } = check.end();
      return broken === null && records === 8 && signed !== null;
    };
    expect(verdictOf(whole)).toBe(true);
    const all = whole.toString('utf8').split('\n').slice(0, -1);
    const joined = (changed: readonly string[]): Buffer => Buffer.from(`${changed.join('\n')}\n`);
    const place = fc.nat({ max: whole.length - 1 });
    const line = fc.nat({ max: all.length - 1 });
    fc.assert(
      fc.property(place, fc.integer({ min: 1, max: 255 }), (at, by) => {
        const bytes = Buffer.from(whole);
        bytes[at] = ((bytes[at] ?? 0) + by) % 256;
        // The last digits of a signature in base64url may stand for the same bytes.
        return !verdictOf(bytes) || at > whole.length - 8;
      }),
      { numRuns: 400 },
    );
    fc.assert(
      fc.property(place, (length) => !verdictOf(whole.subarray(0, length))),
      { numRuns: 200 },
    );
    fc.assert(fc.property(line, (at) => !verdictOf(joined(all.toSpliced(at, 1)))));
    fc.assert(fc.property(line, line, (from, to) => !verdictOf(joined(all.toSpliced(to, 0, all[from] ?? '')))));
    fc.assert(
      fc.property(line, line, (from, to) => {
        const moved = all.toSpliced(from, 1).toSpliced(to, 0, all[from] ?? '');
        return moved.join() === all.join() || !verdictOf(joined(moved));
      }),
    );
  });
});

describe('an exported file', () => {
  const verified = (path: string, ...more: string[]): Promise<string> => {
    const given = auditFileOf(['audit', 'verify', path, ...more]);
    if (given === null) throw new Error('not taken for a file');
    return verifyAuditFile(given);
  };

  test('is verified alone, from any record on, and says by which key it was signed', async () => {
    recordMany(3);
    now += 86_400_000;
    recordMany(2);
    const { path } = await log.export(now);
    expect(readFileSync(`${path}.sha256`, 'utf8')).toBe(`${sha256(readFileSync(path, 'utf8'))}  ${path.split('/').at(-1)}\n`);
    const said = await verified(path, '--head', rows().at(-1)?.hash ?? '', '--key', log.head()?.key ?? '');
    expect(said).toContain(
      `whole, 2 records, 4 to 5\nhead:   ${rows().at(-1)?.hash ?? ''}\nsigned: 2026-11-26T00:00:00.000Z by the key ${log.head()?.key ?? ''}`,
    );
    await expect(verified(path, '--key', 'another')).rejects.toMatchObject({
      id: 'audit.broken',
      reason: expect.stringContaining('another key'),
    });
    expect(await verified(file())).toContain('whole, 5 records, 1 to 5');
  });

  test('that was cut at its end is found by a head that was posted', async () => {
    recordMany(3);
    const posted = log.head()?.hash ?? '';
    writeFileSync(file(), `${lines().slice(0, 2).join('\n')}\n`);
    expect(await verified(file())).toContain('whole, 2 records');
    await expect(verified(file(), '--head', posted)).rejects.toMatchObject({
      id: 'audit.broken',
      reason: expect.stringContaining('it is cut after record 2'),
    });
  });

  test('that was written anew with right hashes has no right signature', async () => {
    recordMany(3);
    const { path } = await log.export(null);
    let prev = '0'.repeat(64);
    const all = readFileSync(path, 'utf8').split('\n').slice(0, -1);
    const forged = all.slice(0, 3).map((line) => {
      const record = line.slice(158, -1).replace('alice', 'mallory');
      const hash = sha256(prev + record);
      const made = `{"hash":"${hash}","prev":"${prev}","record":${record}}`;
      prev = hash;
      return made;
    });
    const head = (all[3] ?? '').replace(/"hash":"[0-9a-f]+"/, `"hash":"${prev}"`);
    writeFileSync(path, `${[...forged, head].join('\n')}\n`);
    await expect(verified(path)).rejects.toMatchObject({ reason: expect.stringContaining('is not what the signed head says') });
  });
});
