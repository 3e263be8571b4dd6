import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Alerts } from '../../src/alerts/alerts.ts';
import type { Alert, AlertChannel } from '../../src/alerts/channel.ts';
import type { AlertMessage } from '../../src/alerts/message.ts';
import { systemIds } from '../../src/clock.ts';
import { Failure } from '../../src/failures/failure.ts';
import { AlertMessages } from '../../src/store/alert-messages.ts';
import { AlertStore } from '../../src/store/alerts.ts';
import { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { ModelClock } from '../model/clock.ts';

const minute = 60_000;
const hour = 60 * minute;

let dir: string;
let clock: ModelClock;
let process: { store: Store; alerts: Alerts; stop: () => Promise<void> };
let taken: Alert[];
let room: AlertMessage[];
let ill: boolean;

const channel: AlertChannel = {
  name: 'webhook',
  send: (alert) => {
    if (ill) return Promise.reject(new Failure('alert.not-delivered'));
    taken.push(alert);
    return Promise.resolve();
  },
};
let channels: AlertChannel[];

/** What a process does from its start to its end, over the store that the last one left. */
function start(): void {
  const store = Store.open(join(dir, 'steward.db'));
  const alerts = new Alerts({
    store,
    alerts: new AlertStore(store),
    messages: new AlertMessages(store),
    channels: () => channels,
    repeat: () => hour,
    clock,
    ids: systemIds,
    log: silentLog,
  });
  alerts.room = (message) => room.push(message);
  const stopping = new AbortController();
  const running = alerts.run(stopping.signal);
  process = {
    store,
    alerts,
    stop: async () => {
      stopping.abort();
      await running;
      store.close();
    },
  };
}

/** Lets what has been woken run to its next sleep. */
const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
const advance = async (ms: number): Promise<void> => {
  await settle();
  await clock.advance(ms, settle);
};
const titles = (): string[] => taken.map(({ title }) => title);

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'alerts-'));
  clock = new ModelClock(Date.UTC(2026, 10, 22));
  taken = [];
  room = [];
  ill = false;
  channels = [channel];
  start();
});

afterEach(async () => {
  await process.stop();
  rmSync(dir, { recursive: true });
});

describe('an alert', () => {
  test('is told once while it stands, to each channel and the room, and once when it is over', async () => {
    for (let look = 0; look < 5; look += 1) {
      process.alerts.raise({ id: 'doctor.clock', detail: `${look} s ahead` });
      await advance(10 * minute);
    }
    expect(titles()).toEqual(["This machine's clock and the homeserver's differ"]);
    expect(taken[0]).toMatchObject({ alerts: ['doctor.clock'], severity: 'warning' });
    expect(taken[0]?.body).toContain('page: docs/operations.md#alert-doctorclock');
    expect(room.map(({ ref }) => ref)).toEqual([taken[0]?.id]);

    process.alerts.resolve('doctor.clock');
    process.alerts.resolve('doctor.clock');
    await advance(hour);
    expect(titles().slice(1)).toEqual(["Over: this machine's clock and the homeserver's differ"]);
    expect(taken[1]).toMatchObject({ severity: 'info' });
    expect(room).toHaveLength(2);
  });

  test('that comes and goes before it is told is no news', async () => {
    process.alerts.raise({ id: 'doctor.clock', detail: 'a blip' });
    process.alerts.resolve('doctor.clock');
    await advance(hour);
    expect(taken).toEqual([]);
  });

  test('makes one message with those that come with it', async () => {
    process.alerts.raise({ id: 'doctor.clock', detail: 'off' });
    await advance(1000);
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(minute);
    expect(taken).toHaveLength(1);
    expect(taken[0]).toMatchObject({ alerts: ['doctor.clock', 'doctor.disk'], severity: 'critical' });
    expect(room).toHaveLength(1);
  });

  test('comes before what has ended meanwhile, in the one message that tells of both', async () => {
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(minute);
    process.alerts.resolve('doctor.disk');
    process.alerts.raise({ id: 'doctor.clock', detail: 'off' });
    await advance(minute);
    expect(titles().slice(1)).toEqual(["This machine's clock and the homeserver's differ; over: the disk is nearly full"]);
    expect(room[1]?.told.map(({ id, isOver }) => [id, isOver])).toEqual([
      ['doctor.clock', false],
      ['doctor.disk', true],
    ]);
  });

  test('one of a subject is not that of another', async () => {
    for (const subject of ['@a:x', '@b:x']) process.alerts.raise({ id: 'doctor.clock', subject, detail: subject });
    await advance(minute);
    expect(taken[0]?.body).toMatch(/@a:x.*@b:x/s);
  });

  test('that is critical is told again each hour until somebody takes it', async () => {
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(2 * hour + minute);
    expect(taken).toHaveLength(3);
    expect(process.alerts.own(taken[2]?.id ?? '', 'alice')).toMatchObject([{ id: 'doctor.disk' }]);
    await advance(10 * hour);
    expect(taken).toHaveLength(3);
    expect(process.alerts.standing()).toMatchObject([{ owner: 'alice' }]);
  });

  test('that is muted is quiet for four hours, also when it goes and comes back', async () => {
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(minute);
    process.alerts.mute(taken[0]?.id ?? '');
    await advance(2 * hour);
    process.alerts.resolve('doctor.disk');
    await advance(minute);
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(hour);
    expect(titles()).toEqual(['The disk is nearly full', 'Over: the disk is nearly full']);
    await advance(hour);
    expect(titles()).toHaveLength(3);
  });

  test('of something that has happened is told once, and stands for nothing', async () => {
    process.alerts.happened({ id: 'doctor.disk', detail: 'full' });
    process.alerts.happened({ id: 'doctor.disk', detail: 'full' });
    await advance(10 * hour);
    expect(taken.map(({ alerts }) => alerts.length)).toEqual([2]);
    expect(process.alerts.standing()).toEqual([]);
  });

  test('raised in a transaction that fails was never raised', async () => {
    expect(() =>
      process.store.transaction(() => {
        process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
        throw new Error('no');
      }),
    ).toThrow('no');
    await advance(hour);
    expect(taken).toEqual([]);
  });
});

describe('a channel that does not take it', () => {
  test('is tried again until it does, each message once and in order', async () => {
    ill = true;
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(minute);
    process.alerts.resolve('doctor.disk');
    await advance(30 * minute);
    expect(taken).toEqual([]);
    expect(process.alerts.undelivered().get('webhook')?.count).toBe(2);
    ill = false;
    await advance(6 * minute);
    expect(titles()).toEqual(['The disk is nearly full', 'Over: the disk is nearly full']);
    expect(process.alerts.undelivered().size).toBe(0);
  });

  test('holds up no other', async () => {
    ill = true;
    const others: Alert[] = [];
    channels = [channel, { name: 'ntfy', send: (alert) => Promise.resolve(void others.push(alert)) }];
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(minute);
    expect(others).toHaveLength(1);
  });

  test('gets it from the next process too', async () => {
    ill = true;
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(minute);
    await process.stop();
    ill = false;
    start();
    await advance(6 * minute);
    expect(titles()).toEqual(['The disk is nearly full']);
    expect(room).toHaveLength(1);
  });

  test('is not waited for by a clock that was set back', async () => {
    ill = true;
    process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
    await advance(minute);
    clock.jump(-30 * 24 * hour);
    ill = false;
    await advance(6 * minute);
    expect(new Set(titles())).toEqual(new Set(['The disk is nearly full']));
  });
});

test('what was raised just before a stop is told by the next process', async () => {
  process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
  await process.stop();
  start();
  await advance(minute);
  expect(taken).toHaveLength(1);
});

test('a process that ends now tells at once', async () => {
  await process.stop();
  start();
  process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
  await process.alerts.flush(new AbortController().signal);
  expect(taken).toHaveLength(1);
});

test('what is long over is forgotten', async () => {
  process.alerts.raise({ id: 'doctor.disk', detail: 'full' });
  await advance(minute);
  process.alerts.resolve('doctor.disk');
  await advance(minute);
  process.alerts.prune(clock.now() + 1);
  expect(process.store.database.prepare('SELECT count(*) AS n FROM alerts').get()).toEqual({ n: 0 });
  expect(process.store.database.prepare('SELECT count(*) AS n FROM alert_message_parts').get()).toEqual({ n: 0 });
  expect(process.alerts.mute(taken[0]?.id ?? '').alerts).toEqual([]);
});
