import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Heartbeat } from '../../src/backup/heartbeat.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { Facts } from '../../src/store/facts.ts';
import { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { openMonitor, type Monitor } from '../integration/support/monitor.ts';

let dir: string;
let store: Store;
let monitor: Monitor;
let now: number;
let told: string[];
// The waits between attempts are none; the time is what a test says.
const clock: Clock = { ...systemClock, now: () => now, monotonic: () => now, sleep: () => Promise.resolve() };

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'heartbeat-'));
  store = Store.open(join(dir, 'steward.db'));
  monitor = await openMonitor();
  now = 1_000_000;
  told = [];
});
afterEach(() => {
  monitor.close();
  store.close();
  rmSync(dir, { recursive: true });
});

const heartbeat = (url: string | null = monitor.url): Heartbeat =>
  new Heartbeat({
    url: () => (url === null ? null : new Secret(url)),
    facts: new Facts(store),
    alerts: { raise: ({ id, detail }) => void told.push(`${id}: ${detail}`), resolve: (id) => void told.push(`over: ${id}`) },
    clock,
    log: silentLog,
  });

test('one that is due is sent after a restart too, and once', async () => {
  const before = heartbeat();
  store.transaction(() => {
    before.due('b1');
  });
  const after = heartbeat();
  after.kick();
  await after.idle();
  await before.idle();
  expect(after.last()).toEqual({ backup: 'b1', state: 'sent', at: now, reason: null });
  const count = monitor.beats.length;
  after.kick();
  await after.idle();
  expect(monitor.beats).toHaveLength(count);
});

test('one that is not taken is told without the address, and sent again after a while', async () => {
  monitor.status = 503;
  const beating = heartbeat();
  beating.due('b1');
  beating.kick();
  await beating.idle();
  expect(beating.last()).toMatchObject({ backup: 'b1', state: 'failed', reason: 'it answered 503' });
  expect(told).toEqual(['doctor.heartbeat: the one of b1 was not taken: it answered 503']);
  monitor.status = 200;
  beating.kick();
  await beating.idle();
  expect(monitor.beats).toEqual([]);
  now += 15 * 60_000;
  beating.kick();
  await beating.idle();
  expect(monitor.beats).toHaveLength(1);
  expect(told.at(-1)).toBe('over: doctor.heartbeat');
});

test('nobody listens, or the address is none: that is told, and nothing throws', async () => {
  for (const url of ['http://127.0.0.1:9/gone', 'no address']) {
    const beating = heartbeat(url);
    beating.due('b2');
    beating.kick();
    await beating.idle();
    expect(beating.last()?.state).toBe('failed');
    now += 1;
  }
  expect(told.join()).not.toMatch(/127\.0\.0\.1|no address/);
  const none = heartbeat(null);
  none.due('b3');
  none.kick();
  await none.idle();
  expect(none.last()).toBeNull();
});
