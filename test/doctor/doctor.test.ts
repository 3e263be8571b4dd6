import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Alerts } from '../../src/alerts/alerts.ts';
import type { AlertChannel } from '../../src/alerts/channel.ts';
import { systemClock, systemIds, type Clock } from '../../src/clock.ts';
import { configSchema } from '../../src/config/schema.ts';
import { lookAtBackups } from '../../src/doctor/backups.ts';
import { lookAtChannels } from '../../src/doctor/channels.ts';
import { Doctor } from '../../src/doctor/doctor.ts';
import { lookAtClock } from '../../src/doctor/homeserver.ts';
import { ok, skipped, type Finding, type Line } from '../../src/doctor/line.ts';
import { lookAtRestores } from '../../src/doctor/restores.ts';
import { lookAtDisk, lookAtStore } from '../../src/doctor/store.ts';
import { report } from '../../src/doctor/watch.ts';
import { AlertMessages } from '../../src/store/alert-messages.ts';
import { Failure } from '../../src/failures/failure.ts';
import type { Synapse } from '../../src/homeserver/synapse/synapse.ts';
import type { RestoreRow, RestoreState } from '../../src/store/restores.ts';
import type { Backup } from '../../src/backup/backups.ts';
import { AlertStore } from '../../src/store/alerts.ts';
import { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';

const minute = 60_000;

describe('the disk', () => {
  const gibibyte = 1024 ** 3;
  test.each([
    [10 * gibibyte, 'ok', '10.0 GiB'],
    [gibibyte, 'ok', '1.0 GiB'],
    [gibibyte - 1, 'warn', '1023 MiB'],
    [gibibyte / 4, 'warn', '256 MiB'],
    [gibibyte / 4 - 1, 'fail', '255 MiB'],
    [0, 'fail', '0 MiB'],
  ])('with %i bytes free is %s', async (bytes, state, words) => {
    expect(await lookAtDisk('/data', () => Promise.resolve(bytes))).toMatchObject({ state, detail: `${words} free in /data` });
  });

  test('that is there has some space', async () => {
    expect((await lookAtDisk(tmpdir())).detail).toMatch(/^\d+(?:\.\d)? [GM]iB free in /);
  });
});

describe('the restores', () => {
  const day = 24 * 60 * minute;
  const now = Date.UTC(2026, 10, 25);
  const restore = (state: RestoreState, daysAgo: number, step: string | null = null): RestoreRow => ({
    ...{ id: '20261120_010203', backup: 'b', destination: 'disk', state, step, parts: ['database'], report: null, startedAt: now },
    ...{ changedAt: now - daysAgo * day, cutOverAt: null, downtime: null, probe: null },
  });
  test.each<[string, RestoreRow[], boolean, string, string | undefined, string]>([
    ['none', [], false, 'ok', undefined, 'none is open'],
    ['only old ones', [restore('finished', 9), restore('failed', 9)], false, 'ok', undefined, 'none is open'],
    ['one that is young', [restore('prepared', 2.9)], false, 'ok', undefined, 'prepared for'],
    ['one that waits for its cutover', [restore('prepared', 3)], false, 'warn', 'restore.waiting', 'prepared for 3 d'],
    ['one that was undone', [restore('undone', 4)], false, 'warn', 'restore.waiting', 'undone for 4 d'],
    ['one that is live', [restore('live', 6.9)], false, 'ok', undefined, 'live for'],
    ['one that was never finished', [restore('live', 7)], false, 'warn', 'restore.waiting', 'what was live before is kept'],
    ['one at work', [restore('cutting-over', 0, 'swap')], true, 'ok', undefined, 'at work'],
    ['one that is stuck', [restore('cutting-over', 0, 'swap')], false, 'fail', undefined, 'half-way (cutting-over, swap)'],
    ['one of the future', [restore('live', -3)], false, 'ok', undefined, 'live for'],
  ])('%s', (_, rows, isBusy, state, alert, words) => {
    const found = lookAtRestores(rows, isBusy, now);
    expect(found).toMatchObject({ state, detail: expect.stringContaining(words) });
    expect(found.alert).toBe(alert);
  });
});

describe('the channels', () => {
  const channel = (name: AlertChannel['name']): AlertChannel => ({ name, send: () => Promise.resolve() });
  const late = (...names: string[]): Map<string, { count: number; since: number }> =>
    new Map(names.map((name) => [name, { count: 2, since: 0 }]));
  test.each<[string, AlertChannel[], Map<string, { count: number; since: number }>, number, string]>([
    ['none', [], late(), 0, 'fail'],
    ['one that takes everything', [channel('ntfy')], late(), 0, 'ok'],
    ['one that is behind for a moment', [channel('ntfy')], late('ntfy'), minute, 'warn'],
    ['one that is behind for long', [channel('ntfy')], late('ntfy'), 16 * minute, 'fail'],
    ['one of two that is behind for long', [channel('ntfy'), channel('smtp')], late('ntfy'), 16 * minute, 'warn'],
  ])('%s', (_, channels, undelivered, now, state) => {
    expect(lookAtChannels(channels, undelivered, now).state).toBe(state);
  });
});

describe('the backups', () => {
  const hour = 60 * minute;
  const now = Date.UTC(2026, 10, 25);
  const taken = (hoursAgo: number, contentLevel = 3, objectLevel: number | null = 1): Backup => ({
    ...{ id: `made${hoursAgo}`, destination: 'disk', state: 'complete', startedAt: now, finishedAt: now, bytes: 1, manifest: '' },
    ...{ databaseAt: now - hoursAgo * hour, contentLevel, objectLevel, provenAt: now, pinned: false },
    ...{ epochs: ['2026-11'], isOpenable: true },
  });
  test.each<[string, Backup[] | null, string, string]>([
    ['not configured', null, 'skipped', 'no place'],
    ['none', [], 'fail', 'there is no backup'],
    ['one of last night', [taken(26 - 0.01)], 'ok', 'made25.99 in disk, is 26 h old'],
    ['one that is late', [taken(26)], 'warn', 'made26'],
    ['one that is two nights old', [taken(50)], 'fail', 'made50 in disk, is 2 d old'],
    ['a newer one that is not proven', [taken(1, 2), taken(51)], 'fail', 'made51'],
    ['a newer one whose objects are not what was stored', [taken(1, 3, null), taken(2)], 'ok', 'made2 '],
    ['none that is proven', [taken(1, 1), taken(2, 3, null)], 'fail', 'none of 2'],
    ['one of the future', [taken(-3)], 'ok', 'made-3'],
  ])('%s', (_, rows, state, words) => {
    expect(lookAtBackups(rows, 1, now)).toMatchObject({ state, detail: expect.stringContaining(words) });
  });

  test('that nobody has shown to be able to open', () => {
    const closed = { ...taken(1), isOpenable: false };
    const challenge = expect.stringContaining('!backup keys');
    expect(lookAtBackups([closed], 1, now)).toMatchObject({
      state: 'fail',
      detail: expect.stringContaining('able to open'),
      fix: challenge,
    });
    expect(lookAtBackups([closed, taken(2)], 1, now)).toMatchObject({ state: 'warn', fix: challenge });
    expect(lookAtBackups([closed, taken(51)], 1, now)).toMatchObject({ state: 'fail', detail: expect.stringContaining('made51') });
  });

  test('whose recipients were changed', () => {
    expect(lookAtBackups([taken(1)], 1, now, null, true)).toMatchObject({
      state: 'warn',
      fix: expect.stringContaining('!backup keys accept'),
    });
  });

  test.each<[string, Partial<Backup>[], RegExp]>([
    ['in two', [{}, { destination: 'cloud' }], /; safe$/],
    ['in one', [{}], /; not safe: /],
    ['proven in one only', [{}, { destination: 'cloud', objectLevel: null }], /; not safe: /],
  ])('of two places, %s', (_, rows, words) => {
    expect(
      lookAtBackups(
        rows.map((row) => ({ ...taken(1), ...row })),
        2,
        now,
      ),
    ).toMatchObject({ state: 'ok', detail: expect.stringMatching(words) });
  });
});

describe('the clock', () => {
  let server: Server;
  let ahead: number | null;

  beforeEach(async () => {
    server = createServer((_request, response) => {
      response.sendDate = false;
      if (ahead !== null) response.setHeader('date', new Date(Date.now() + ahead).toUTCString());
      response.end('{}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => {
    server.close().closeAllConnections();
  });

  test.each<[number | null, string, RegExp]>([
    [0, 'ok', /agrees/],
    [5000, 'ok', /agrees/],
    [60_000, 'warn', /(?:59|60) s ahead/],
    [-60_000, 'warn', /(?:59|60|61) s behind/],
    [10 * minute, 'fail', /(?:599|600) s ahead/],
    [null, 'skipped', /does not say/],
  ])('of a homeserver that is off by %p is %s', async (off, state, words) => {
    ahead = off;
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const config = configSchema.parse({});
    const found = await lookAtClock({ ...config, homeserver: { url } } as unknown as typeof config, systemClock);
    expect(found).toMatchObject({ state, detail: expect.stringMatching(words) });
  });
});

const hanging = new Promise<never>(() => undefined);

function doctorOf(homeserver: Synapse | null, clock: Clock, others: () => Promise<Finding>): Doctor {
  return new Doctor({
    config: () => ({ ...configSchema.parse({}), dataDir: '/no/such/folder' }),
    homeserver: () => homeserver,
    store: { isWritable: () => false },
    channels: () => [],
    undelivered: () => new Map(),
    backups: () => null,
    engine: () => undefined,
    restores: () => ({ rows: [], isBusy: false }),
    recipientsWait: () => Promise.resolve(false),
    powers: () => Promise.resolve([]),
    heartbeat: () => undefined,
    clock,
    others: { room: others, crypto: others },
  });
}

const statesOf = async (doctor: Doctor): Promise<Record<string, string>> =>
  Object.fromEntries((await doctor.look()).map(({ name, state }) => [name, state]));

test('a look that throws or hangs is a line that fails', async () => {
  const clock: Clock = { ...systemClock, sleep: (_ms, signal) => (signal?.aborted === true ? hanging : Promise.resolve()) };
  expect(await statesOf(doctorOf(null, clock, () => hanging))).toMatchObject({
    ...{ homeserver: 'warn', token: 'skipped', room: 'skipped', store: 'fail', disk: 'fail', channels: 'fail' },
  });
  expect(lookAtStore({ isWritable: () => true })).toEqual(ok('it can be written'));
});

test('a homeserver that stops during a look is the one line that fails of it', async () => {
  const unreachable = (): Promise<never> => Promise.reject(new Failure('homeserver.unreachable', { attempted: 'ask' }));
  let asked = 0;
  const known: Record<string, unknown> = {
    serverName: 'example.org',
    version: () => ((asked += 1) === 1 ? Promise.resolve('1.150.0') : unreachable()),
  };
  const homeserver = new Proxy({}, { get: (_, name) => known[String(name)] ?? unreachable });
  const states = await statesOf(doctorOf(homeserver as unknown as Synapse, systemClock, unreachable));
  expect(states).toMatchObject({
    homeserver: 'fail',
    token: 'skipped',
    admin: 'skipped',
    room: 'skipped',
    clock: 'skipped',
    store: 'fail',
  });
});

describe('the watch', () => {
  let dir: string;
  let store: Store;
  let alerts: Alerts;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'watch-'));
    store = Store.open(join(dir, 'steward.db'));
    alerts = new Alerts({
      store,
      alerts: new AlertStore(store),
      messages: new AlertMessages(store),
      channels: () => [],
      repeat: () => minute,
      clock: systemClock,
      ids: systemIds,
      log: silentLog,
    });
  });
  afterEach(() => {
    store.close();
    rmSync(dir, { recursive: true });
  });
  const standing = (): string[] => alerts.standing().map(({ id }) => id);
  const failing = (name: Line['name']): Line => ({ name, state: 'fail', detail: 'broken', fix: 'Mend it.' });

  test('makes an alert of a line that fails, with what mends it, and ends it when it is well', () => {
    report([failing('disk'), failing('clock')], alerts);
    report([failing('disk'), { name: 'clock', ...ok('well') }], alerts);
    expect(alerts.standing()).toMatchObject([{ id: 'doctor.disk', detail: 'broken', next: 'Mend it.' }]);
    report([{ name: 'disk', state: 'warn', detail: 'low', fix: 'Make space.' }], alerts);
    expect(standing()).toEqual([]);
  });

  test('makes an alert of a warning that is one, and of no other of its line', () => {
    const warning = (detail: string): Line => ({ name: 'backups', state: 'warn', detail, fix: 'Look.' });
    report([warning('not in two places')], alerts);
    expect(standing()).toEqual([]);
    report([{ ...warning('27 h old'), alert: 'backup.late' }], alerts);
    expect(alerts.standing()).toMatchObject([{ id: 'backup.late', detail: '27 h old' }]);
    report([failing('backups')], alerts);
    expect(standing()).toEqual(['backup.late', 'doctor.backups']);
    report([warning('not in two places')], alerts);
    expect(standing()).toEqual([]);
  });

  test('leaves a line as it was that cannot be looked at', () => {
    report([failing('token')], alerts);
    report([failing('homeserver'), { name: 'token', ...skipped('the homeserver does not answer') }], alerts);
    expect(standing()).toEqual(['doctor.token', 'doctor.homeserver']);
  });

  test('says nothing twice that the room has told', () => {
    alerts.raise({ id: 'room.unheard', detail: 'the token is dead' });
    report([failing('token'), failing('room'), failing('disk')], alerts);
    expect(standing()).toEqual(['room.unheard', 'doctor.disk']);
  });
});
