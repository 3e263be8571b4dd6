import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Deliveries } from '../../src/store/deliveries.ts';
import { Facts } from '../../src/store/facts.ts';
import { Inbox } from '../../src/store/inbox.ts';
import { JobStore } from '../../src/store/jobs.ts';
import { migrations } from '../../src/store/migrations.ts';
import { Outbox } from '../../src/store/outbox.ts';
import { Posts } from '../../src/store/posts.ts';
import { Store } from '../../src/store/store.ts';

/** A store of the first version, with rows in each of its tables, opened by this one. */

const tables = ['facts', 'inbox', 'outbox', 'jobs', 'steps', 'deliveries'];
const requester = { kind: 'person', person: 'alice', userId: '@alice:example.org' };
const origin = { kind: 'room', roomId: '!room:example.org', eventId: '$asked', threadId: null };
const plan = {
  command: 'user create',
  tier: 'change',
  reasons: [],
  items: [{ targets: [{ id: '@bob:example.org' }], changes: [], data: {} }],
};

let dir: string;
let path: string;
let before: Map<string, Record<string, unknown>[]>;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'migrations-'));
  path = join(dir, 'steward.db');
  const database = new DatabaseSync(path);
  database.exec(migrations[0]?.sql ?? '');
  database.exec('PRAGMA user_version = 1');
  const job = database.prepare(
    'INSERT INTO jobs (id, request_id, command, inputs, plan, plan_hash, tier, state, requester, origin, prompt_event_id, created_at, expires_at, started_at, finished_at, undo, undone_by, undoes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  const add = (id: string, state: string, prompt: string | null, finished: number | null, undo: string | null): void => {
    const json = [JSON.stringify([{ user: 'bob' }]), JSON.stringify(plan)];
    job.run(
      id,
      `$${id}`,
      'user create',
      ...json,
      'hash',
      'change',
      state,
      JSON.stringify(requester),
      JSON.stringify(origin),
      prompt,
      10,
      20,
      null,
      finished,
      undo,
      null,
      null,
    );
  };
  add('done', 'done', null, 30, 'user deactivate @bob:example.org');
  add('waiting', 'pending', '$prompt', null, null);
  add('untold', 'pending', null, null, null);
  add('cutoff', 'running', '$older', null, null);
  const step = database.prepare('INSERT INTO steps (job_id, n, state, result, failure) VALUES (?, ?, ?, ?, ?)');
  step.run('done', 0, 'done', '{"userId":"@bob:example.org"}', null);
  step.run('waiting', 0, 'waiting', null, null);
  step.run('cutoff', 0, 'failed', null, '{"id":"user.exists","reason":"taken","hint":"look"}');
  step.run('cutoff', 1, 'running', null, null);
  const out = database.prepare(
    'INSERT INTO outbox (txn_id, room_id, kind, content, about_txn, file, job_id, created_at, sent_at, event_id, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  out.run('sent', '!room:example.org', 'm.room.message', null, null, null, 'waiting', 1, 2, '$prompt', null);
  out.run('refused', '!room:example.org', 'm.room.message', null, null, null, null, 1, 2, null, 'M_FORBIDDEN');
  out.run('next', '!room:example.org', 'm.room.message', '{"body":"Please confirm"}', null, null, 'untold', 3, null, null, null);
  out.run('mark', '!room:example.org', 'm.reaction', '{}', 'next', null, null, 3, null, null, null);
  const event = database.prepare(
    'INSERT INTO inbox (event_id, room_id, sender, type, content, age_ms, caught_up, received_at, handled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  event.run('$handled', '!room:example.org', '@alice:example.org', 'm.room.message', null, 5, 0, 1, 2);
  event.run('$waits', '!room:example.org', '@alice:example.org', 'm.reaction', '{"about":"$prompt","key":"✅"}', 5, 1, 3, null);
  database.prepare('INSERT INTO facts (name, value) VALUES (?, ?)').run('sync_token', 's1');
  database.prepare('INSERT INTO deliveries (name, created_at, expires_at) VALUES (?, ?, ?)').run('bob_example.org', 1, 99);
  before = new Map(tables.map((table) => [table, database.prepare(`SELECT * FROM ${table}`).all()]));
  database.close();
});

afterEach(() => {
  rmSync(dir, { recursive: true });
});

describe('a store of the first version', () => {
  test('keeps every row, each with what it held', () => {
    const store = Store.open(path);
    for (const table of tables) {
      const after = store.database.prepare(`SELECT * FROM ${table}`).all();
      const kept = Object.keys(after[0] ?? {});
      const expected = (before.get(table) ?? []).map((row) =>
        Object.fromEntries(Object.entries(row).filter(([column]) => kept.includes(column))),
      );
      expect(expected.length).toBeGreaterThan(0);
      for (const row of expected) expect(after).toContainEqual(expect.objectContaining(row));
      // The store itself notes by which version it was written.
      if (table !== 'facts') expect(after).toHaveLength(expected.length);
    }
    expect(store.database.prepare('PRAGMA foreign_key_check').all()).toEqual([]);
    expect(store.database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
    store.close();
  });

  test('is told apart no more from one that is new', () => {
    Store.open(path).close();
    Store.open(join(dir, 'new.db')).close();
    const schema = (file: string): unknown[] => {
      const database = new DatabaseSync(file, { readOnly: true });
      const names = database.prepare("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name").all();
      const columns = names.map(({ name }) => [name, database.prepare(`PRAGMA table_info(${JSON.stringify(name)})`).all()]);
      database.close();
      return columns;
    };
    expect(schema(path)).toEqual(schema(join(dir, 'new.db')));
  });

  test('knows the prompts of its jobs, sent and still to be sent, so that a reaction on one counts', () => {
    const store = Store.open(path);
    const posts = new Posts(store);
    expect(posts.find('$prompt')).toEqual({ kind: 'prompt', ref: 'waiting' });
    expect(posts.find('$older')).toEqual({ kind: 'prompt', ref: 'cutoff' });
    expect(posts.find('$asked')).toBeNull();
    const outbox = new Outbox(store);
    const entry = outbox.next();
    expect(entry).toMatchObject({ txnId: 'next', content: { body: 'Please confirm' }, post: { kind: 'prompt', ref: 'untold' } });
    outbox.sent(entry?.seq ?? 0, '$told', 40);
    posts.put('$told', entry?.post ?? { kind: 'prompt', ref: '' });
    expect(posts.find('$told')).toEqual({ kind: 'prompt', ref: 'untold' });
    expect(outbox.next()).toMatchObject({ txnId: 'mark', aboutTxn: 'next', post: null });
    expect([outbox.eventOf('sent'), outbox.eventOf('refused')]).toEqual(['$prompt', null]);
    store.close();
  });

  test('goes on with its jobs: each in its state, with its steps, and the last can be undone', () => {
    const store = Store.open(path);
    const jobs = new JobStore(store);
    expect(jobs.get('waiting')).toMatchObject({
      state: 'pending',
      requestId: '$waiting',
      requester,
      origin,
      plan,
      inputs: [{ user: 'bob' }],
      expiresAt: 20,
    });
    expect(jobs.move('waiting', 'pending', 'approved', 50)).toBe(true);
    expect(jobs.steps('cutoff')).toMatchObject([
      { n: 0, state: 'failed', failure: { id: 'user.exists' } },
      { n: 1, state: 'running', failure: null },
    ]);
    expect(jobs.lastUndoable(requester)).toMatchObject({ id: 'done', undo: 'user deactivate @bob:example.org' });
    // The steps hang on the new table: they go with their job.
    store.database.prepare("DELETE FROM jobs WHERE id = 'cutoff'").run();
    expect(jobs.steps('cutoff')).toEqual([]);
    expect(() => {
      jobs.setStep('cutoff', { n: 0, state: 'waiting', result: null, failure: null, work: null });
    }).toThrow(/FOREIGN KEY/);
    store.close();
  });

  test('remembers what it heard, what it knew, and what it handed over', () => {
    const store = Store.open(path);
    expect(new Inbox(store).waiting()).toMatchObject([
      {
        eventId: '$waits',
        sender: '@alice:example.org',
        content: { about: '$prompt', key: '✅' },
        caughtUp: true,
        trust: { kind: 'plain' },
      },
    ]);
    expect(new Facts(store).get('sync_token')).toBe('s1');
    expect(new Deliveries(store).due(100)).toEqual(['bob_example.org']);
    store.close();
  });

  test('is copied as it was before it is changed', () => {
    Store.open(path).close();
    const copy = new DatabaseSync(`${path}.v1`, { readOnly: true });
    for (const table of tables) expect(copy.prepare(`SELECT * FROM ${table}`).all()).toEqual(before.get(table));
    expect(copy.prepare('PRAGMA user_version').get()).toEqual({ user_version: 1 });
    copy.close();
  });
});
