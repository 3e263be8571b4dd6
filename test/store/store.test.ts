import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../../src/clock.ts';
import { Facts } from '../../src/store/facts.ts';
import { takeLock } from '../../src/store/lock.ts';
import { migrations } from '../../src/store/migrations.ts';
import { Outbox } from '../../src/store/outbox.ts';
import { Store } from '../../src/store/store.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'store-'));
  path = join(dir, 'steward.db');
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

describe('the store', () => {
  test('is a file for its owner alone', () => {
    Store.open(path).close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('keeps all of a transaction or nothing', () => {
    const store = Store.open(path);
    const facts = new Facts(store);
    expect(() =>
      store.transaction(() => {
        facts.set('sync_token', 's1');
        store.transaction(() => {
          facts.set('device_id', 'D');
        });
        throw new Error('no');
      }),
    ).toThrow('no');
    expect([facts.get('sync_token'), facts.get('device_id')]).toEqual([null, null]);
    store.close();
  });

  test('compiles a statement once, however often it is asked for', () => {
    const store = Store.open(path);
    const statement = store.database.prepare('SELECT value FROM facts');

    expect(store.database.prepare('SELECT value FROM facts')).toBe(statement);
    store.close();
  });

  test('of a newer version is refused with the version that it needs, and left as it was', () => {
    Store.open(path).close();
    const database = new DatabaseSync(path);
    database.exec("UPDATE facts SET value = '9.1.0' WHERE name = 'written_by'; PRAGMA user_version = 99");
    database.close();
    expect(() => Store.open(path)).toThrow(
      expect.objectContaining({ id: 'store.newer', message: expect.stringContaining('9.1.0') as unknown }),
    );
    expect(new DatabaseSync(path).prepare('PRAGMA user_version').get()).toEqual({ user_version: 99 });
  });

  test('is copied before a migration', () => {
    const before = Store.open(path);
    new Facts(before).set('sync_token', 'before');
    before.close();
    const known = migrations.length;
    const sql = "CREATE TABLE later (x TEXT) STRICT; UPDATE facts SET value = 'after' WHERE name = 'sync_token'";
    (migrations as { since: string; sql: string }[]).push({ since: '9.0.0', sql });
    try {
      Store.open(path).close();
    } finally {
      (migrations as { since: string; sql: string }[]).pop();
    }
    const copy = new DatabaseSync(`${path}.v${known}`);
    expect(copy.prepare("SELECT value FROM facts WHERE name = 'sync_token'").get()).toEqual({ value: 'before' });
    expect(copy.prepare("SELECT count(*) AS n FROM sqlite_master WHERE name = 'later'").get()).toEqual({ n: 0 });
    copy.close();
  });

  test('that is no database is said to be damaged', () => {
    writeFileSync(path, 'this is no database, but it is long enough to look like a file of one');
    expect(() => Store.open(path)).toThrow(expect.objectContaining({ id: 'store.unreadable' }));
  });

  test('in a folder that is not there cannot be written', () => {
    expect(() => Store.open(join(dir, 'missing/steward.db'))).toThrow(expect.objectContaining({ id: 'store.unwritable' }));
    expect(existsSync(join(dir, 'missing'))).toBe(false);
  });
});

describe('the lock', () => {
  test('is for one, until it is let go', async () => {
    const lock = join(dir, 'steward.lock');
    const held = await takeLock(lock, 0, systemClock);
    await expect(takeLock(lock, 100, systemClock)).rejects.toMatchObject({ id: 'store.locked' });
    const waiting = takeLock(lock, 2000, systemClock);
    held.release();
    (await waiting).release();
  });
});

describe('the outbox', () => {
  test('keeps an entry once for one transaction id, in order, and forgets what was said', () => {
    const store = Store.open(path);
    const outbox = new Outbox(store);
    outbox.add({ txnId: 't1', roomId: '!r', kind: 'm.room.message', content: { body: 'first' } }, 1);
    outbox.add({ txnId: 't1', roomId: '!r', kind: 'm.room.message', content: { body: 'again' } }, 2);
    outbox.add({ txnId: 't2', roomId: '!r', kind: 'm.reaction', content: {}, aboutTxn: 't1' }, 3);
    const first = outbox.next();
    expect(first).toMatchObject({ txnId: 't1', content: { body: 'first' } });
    outbox.sent(first?.seq ?? 0, '$e1', 4);
    expect(outbox.next()).toMatchObject({ txnId: 't2', aboutTxn: 't1' });
    expect([outbox.eventOf('t1'), outbox.eventOf('t2'), outbox.pending()]).toEqual(['$e1', null, 1]);
    expect(store.database.prepare("SELECT content FROM outbox WHERE txn_id = 't1'").get()).toEqual({ content: null });
    store.close();
  });
});
