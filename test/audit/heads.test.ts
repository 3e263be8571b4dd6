import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isSigned, type SignedHead } from '../../src/audit/head.ts';
import { HeadPosts } from '../../src/audit/heads.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { contentOf } from '../../src/matrix/outgoing.ts';
import { headReply } from '../../src/matrix/audit-head.ts';
import { Facts } from '../../src/store/facts.ts';
import { Store } from '../../src/store/store.ts';
import { auditOf } from './support.ts';

const hour = 3600 * 1000;
let dir: string;
let store: Store;
let now = Date.UTC(2026, 2, 28);
let posted: SignedHead[];
const clock: Clock = { ...systemClock, now: () => now };

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'heads-'));
  store = Store.open(join(dir, 'steward.db'));
  posted = [];
});

afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true });
});

test('a head is posted once a day for weeks, over restarts and a clock that is set back', () => {
  const log = auditOf(store, dir, clock);
  log.record({ event: 'steward.started', actor: { kind: 'steward' } });
  const started = (): HeadPosts =>
    new HeadPosts({ store, facts: new Facts(store), clock, head: () => log.head(), post: (head) => posted.push(head) });
  let posts = started();
  for (let hours = 0; hours < 15 * 24; hours += 1) {
    if (hours % 7 === 0) posts = started();
    posts.postDaily();
    now += hour;
  }
  expect(posted).toHaveLength(14);
  expect(posted.map(({ at }, n) => n === 0 || Date.parse(at) - Date.parse(posted[n - 1]?.at ?? '') === 24 * hour)).not.toContain(false);
  expect(posted.every(isSigned)).toBe(true);

  now -= 30 * 24 * hour;
  posts.postDaily();
  posts.postDaily();
  expect(posted).toHaveLength(15);
  log.close();
});

test('a post is not remembered when it was not kept', () => {
  const log = auditOf(store, dir, clock);
  log.record({ event: 'steward.started', actor: { kind: 'steward' } });
  const failing = new HeadPosts({
    store,
    facts: new Facts(store),
    clock,
    head: () => log.head(),
    post: () => {
      throw new Error('no');
    },
  });
  expect(() => {
    failing.postNow();
  }).toThrow('no');
  expect(new Facts(store).get('audit_head_at')).toBeNull();
  log.close();
});

test('the message has one line for people and the signed head for programs', () => {
  const log = auditOf(store, dir, clock);
  log.record({ event: 'steward.started', actor: { kind: 'steward' } });
  const head = log.head();
  if (head === null) throw new Error('no head');
  const content = contentOf(
    headReply(head),
    { roomId: '!r', replyTo: null, threadId: null },
    { timeZone: 'UTC', prefix: '!', wide: false },
  );
  expect(content['body']).toBe(`Audit: 1 records, head ${head.hash}`);
  expect(content['org.steward.audit_head']).toEqual(head);
  log.close();
});
