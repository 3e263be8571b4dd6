import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { notEverywhere } from '../../src/backup/backups.ts';
import { BackupReports } from '../../src/backup/reports.ts';
import { systemClock } from '../../src/clock.ts';
import { Failure } from '../../src/failures/failure.ts';
import type { FailureId } from '../../src/failures/table.ts';
import { renderPlain } from '../../src/reply/plain.ts';
import { failureReply, type Reply } from '../../src/reply/reply.ts';
import { JobStore } from '../../src/store/jobs.ts';
import { Store } from '../../src/store/store.ts';
import type { SettledJob } from '../../src/workflow/job.ts';
import type { Schedule } from '../../src/workflow/schedule/schedule.ts';

let dir: string;
let store: Store;
let told: string[];
let reports: BackupReports;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'reports-'));
  store = Store.open(join(dir, 'steward.db'));
  told = [];
  reports = new BackupReports({
    jobs: new JobStore(store),
    rows: () => [],
    restores: () => [],
    schedules: { followers: () => [], nextRun: () => Date.UTC(2026, 10, 26, 1, 30) },
    heartbeat: { due: () => undefined },
    alerts: {
      raise: ({ id, detail, next }) => void told.push(`${id}: ${detail}${next === undefined ? '' : `; next: ${next}`}`),
      resolve: () => undefined,
      happened: () => undefined,
    },
    clock: systemClock,
  });
});
afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true });
});

const schedule = (command: string): Schedule => ({ command, timeZone: 'Europe/Berlin' }) as Schedule;
const refused = (id: FailureId): Reply => failureReply(new Failure(id, { attempted: 'run `backup create`' }), 'backup create');
const bodyOf = ({ parts }: Reply): string => renderPlain(parts, { timeZone: 'UTC', prefix: '!', wide: false });

test.each<FailureId>([
  'backup.destination-full',
  'backup.no-recipient',
  'stack.database-unreachable',
  'schedule.role-gone',
  'internal.bug',
])('a backup that did not begin for %s is an alert, which says that none is proven', (id) => {
  const reply = reports.complete(schedule('backup create'), refused(id));
  expect(told).toEqual([
    expect.stringMatching(new RegExp(`^backup\\.failed: cannot run .*\\(${id.replace('.', '\\.')}\\); no backup is proven$`)),
  ]);
  expect(bodyOf(reply)).toMatch(/Nobody knows what a restore now would bring: no backup is proven\.\nNext run: 2026-11-26 02:30 CET\.$/);
});

test.each<FailureId>(['access.frozen', 'room.locked', 'job.locked'])('one that %s holds is none: it is made up for', (id) => {
  reports.complete(schedule('backup create'), refused(id));
  expect(told).toEqual([]);
});

test('one that is in another place says how it comes to the one that failed', () => {
  const failure = notEverywhere('20261122_021500', [], [{ name: 'cloud', failure: new Failure('backup.destination-failed') }]);
  const step = { n: 0, state: 'failed', result: null, failure, work: null } as const;
  reports.settled({
    id: 'j',
    command: 'backup create',
    state: 'failed',
    origin: { kind: 'shell' },
    steps: [step],
  } as unknown as SettledJob);
  expect(told).toEqual([expect.stringContaining('; next: When it is well again: `!backup copy 20261122_021500 --to cloud`.')]);
});

test('what other schedules run is told as it was', () => {
  const reply = refused('backup.not-found');
  expect(reports.complete(schedule('backup prune'), reply)).toBe(reply);
  expect(told).toEqual([]);
});

test.each([
  ['a dump half as large', 'pg_dump', 'pg_dump', 1],
  ['a dump after one that does not say what it is', undefined, 'pg_dump', 1],
  ['the name of what an engine keeps, after a dump', 'pg_dump', 'engine', 0],
  ['the name of what an engine keeps, after a backup that does not say what it is', undefined, 'engine', 0],
  ['a dump of PostgreSQL after one of SQLite', 'sqlite', 'pg_dump', 0],
])('%s is compared as what it is', (_what, before, now, alerts) => {
  const result = (id: string, databaseBytes: number, database?: string): unknown => ({
    ...{ id, destinations: [], bytes: 1, databaseBytes, mediaBytes: 0, contentLevel: 3, seconds: 1, proofSeconds: 1, openable: true },
    ...(database === undefined ? {} : { database }),
  });
  const results = new Map([
    ['new', result('20261202_021500', 400, now)],
    ['old', result('20261201_021500', 800_000, before)],
  ]);
  const shrunk: string[] = [];
  const compared = new BackupReports({
    jobs: {
      ended: () => [...results.keys()].map((id) => ({ id })),
      steps: (id: string) => [{ result: results.get(id), failure: null }],
    } as unknown as JobStore,
    rows: () => [],
    restores: () => [],
    schedules: { followers: () => [], nextRun: () => null },
    heartbeat: { due: () => undefined },
    alerts: { raise: () => undefined, resolve: () => undefined, happened: ({ id }) => void shrunk.push(id) },
    clock: systemClock,
  });
  compared.settled({ id: 'new', command: 'backup create', state: 'done', origin: { kind: 'shell' }, steps: [] } as unknown as SettledJob);
  expect(shrunk).toEqual(Array.from({ length: alerts }, () => 'backup.shrunk'));
});
