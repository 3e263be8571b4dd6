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
