import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { systemClock, systemIds, type Clock } from '../../src/clock.ts';
import { Failure } from '../../src/failures/failure.ts';
import { ApprovalStore } from '../../src/store/approvals.ts';
import { Decisions } from '../../src/store/decisions.ts';
import { JobStore } from '../../src/store/jobs.ts';
import { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import type { SettledJob } from '../../src/workflow/job.ts';
import { Jobs, type Executor, type JobRequest } from '../../src/workflow/jobs.ts';
import type { Plan } from '../../src/workflow/plan.ts';
import { auditOf } from '../audit/support.ts';

let dir: string;
let store: Store;
let now: number;
let settled: SettledJob[];
const clock: Clock = { ...systemClock, now: () => now };
const plan = (...ids: string[]): Plan => ({
  command: 'sample',
  tier: 'change',
  reasons: [],
  items: ids.map((id) => ({ targets: [{ id }], changes: [[`change ${id}`]], data: { id } })),
});

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'jobs-'));
  store = Store.open(join(dir, 'steward.db'));
  now = 1_000_000;
  settled = [];
});

afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true });
});

function jobsWith(executor: Partial<Executor>): Jobs {
  const whole: Executor = {
    plan: () => Promise.resolve(plan('a')),
    run: (_job, n) => Promise.resolve({ n }),
    probe: () => Promise.resolve(null),
    ...executor,
  };
  return new Jobs({
    store,
    jobs: new JobStore(store),
    audit: auditOf(store, dir, clock),
    approvals: new ApprovalStore(store),
    decisions: new Decisions(store),
    clock,
    ids: systemIds,
    log: silentLog,
    executor: whole,
    events: {
      settled: (job) => settled.push(job),
      progress: () => undefined,
      asked: () => undefined,
      countdown: () => undefined,
      started: () => undefined,
    },
    objection: () => null,
    lockOf: (command) => (command === 'locking' ? 'backup' : 'none'),
    isVetoHeard: () => true,
    executeWithin: () => 300_000,
  });
}

const need = (until: number): NonNullable<Parameters<Jobs['create']>[0]['need']> => ({
  ...{ way: 'confirm', approver: 'requester', persons: 1, excluded: [], typed: null, place: 'terminal', countdown: 0, until },
});

const request = (requestId: string, more: Partial<Parameters<Jobs['create']>[0]> = {}): Parameters<Jobs['create']>[0] => ({
  requestId,
  plan: plan('a'),
  inputs: [{}],
  requester: { kind: 'shell' },
  origin: { kind: 'shell' },
  need: null,
  undo: null,
  undoes: null,
  ...more,
});

describe('a job that waits for people', () => {
  const locking = (requestId: string, target: string): Parameters<Jobs['create']>[0] =>
    request(requestId, { plan: { ...plan(target), command: 'locking' } });

  test('lets others have its turn, and waits for the next when it goes on', async () => {
    const [answered, ended] = [Promise.withResolvers<string>(), Promise.withResolvers<undefined>()];
    const begun = Promise.withResolvers<undefined>();
    const seen: string[] = [];
    const jobs = jobsWith({
      run: async ({ requestId }, _n, _secrets, { aside }) => {
        seen.push(`${requestId} begins`);
        if (requestId === 'waiting') seen.push(await aside(() => answered.promise));
        if (requestId === 'other') {
          begun.resolve(undefined);
          await ended.promise;
        }
        seen.push(`${requestId} ends`);
        return {};
      },
    });
    const [first, other] = [jobs.create(locking('waiting', 'a')).id, jobs.create(locking('other', 'a')).id];
    const both = [jobs.start(first), jobs.start(other)];
    await begun.promise;
    expect(jobs.running().map(({ id }) => id)).toEqual([first, other]);
    expect(jobs.atWork().map(({ id }) => id)).toEqual([other]);
    answered.resolve('an answer');
    await setImmediate();
    expect(seen).toEqual(['waiting begins', 'other begins']);
    ended.resolve(undefined);
    await Promise.all(both);
    expect(seen).toEqual(['waiting begins', 'other begins', 'other ends', 'an answer', 'waiting ends']);
    await jobs.start(jobs.create(locking('last', 'a')).id);
    expect(settled.map(({ state }) => state)).toEqual(['done', 'done', 'done']);
  });

  test('and gets no answer fails at once, whoever has the turn', async () => {
    const ended = Promise.withResolvers<undefined>();
    const jobs = jobsWith({
      run: async ({ requestId }, _n, _secrets, { aside }) => {
        if (requestId === 'waiting') await aside(() => Promise.reject(new Failure('backup.no-key')));
        else await ended.promise;
        return {};
      },
    });
    const [first, other] = [jobs.create(locking('waiting', 'a')).id, jobs.create(locking('other', 'a')).id];
    const [one, two] = [jobs.start(first), jobs.start(other)];
    await one;
    expect(settled).toMatchObject([{ id: first, state: 'failed' }]);
    ended.resolve(undefined);
    await two;
    expect(settled).toMatchObject([{ id: first }, { id: other, state: 'done' }]);
  });
});

describe('a job', () => {
  test('runs once, however often it is started', async () => {
    let runs = 0;
    const jobs = jobsWith({ run: () => Promise.resolve({ run: (runs += 1) }) });
    const { id } = jobs.create(request('e1'));
    await Promise.all([jobs.start(id), jobs.start(id)]);
    await jobs.start(id);
    expect(runs).toBe(1);
    expect(settled).toMatchObject([{ id, state: 'done', steps: [{ state: 'done', result: { run: 1 } }] }]);
  });

  test('of one event is one', () => {
    const jobs = jobsWith({});
    jobs.create(request('e1'));
    expect(() => jobs.create(request('e1'))).toThrow(/UNIQUE/);
  });

  test('that waits for a confirmation runs after it, and only of two at once one wins', async () => {
    const jobs = jobsWith({});
    const { id } = jobs.create(request('e1', { need: need(now + 1000) }));
    await jobs.start(id);
    expect(settled).toEqual([]);
    expect([jobs.approve(id), jobs.approve(id)]).toEqual([true, false]);
    expect(jobs.get(id)?.state).toBe('approved');
    await jobs.start(id);
    expect(settled).toMatchObject([{ state: 'done' }]);
  });

  test('ends as expired when its time is over', () => {
    const jobs = jobsWith({});
    const { id } = jobs.create(request('e1', { need: need(now + 1000) }));
    now += 1001;
    expect(jobs.expire()).toBe(1);
    expect(settled).toMatchObject([{ id, state: 'expired' }]);
  });

  test('does not run when the world has moved on since its plan was shown', async () => {
    let runs = 0;
    const jobs = jobsWith({ plan: () => Promise.resolve(plan('b')), run: () => Promise.resolve((runs += 1)) });
    const { id } = jobs.create(request('e1', { need: need(now + 1000) }));
    jobs.approve(id);
    await jobs.start(id);
    expect(runs).toBe(0);
    expect(settled).toMatchObject([
      { state: 'plan-changed', ending: { was: [['target: ', { id: 'a' }], ['change a']], now: [['target: ', { id: 'b' }], ['change b']] } },
    ]);
  });

  test('of several items goes on after one that fails, and says which', async () => {
    const jobs = jobsWith({ run: (_job, n) => (n === 1 ? Promise.reject(new Failure('user.exists')) : Promise.resolve(n)) });
    const { id } = jobs.create(request('e1', { plan: plan('a', 'b', 'c'), inputs: [{}, {}, {}] }));
    await jobs.start(id);
    expect(settled).toMatchObject([
      { state: 'failed', steps: [{ state: 'done' }, { state: 'failed', failure: { id: 'user.exists' } }, { state: 'done' }] },
    ]);
  });

  test('waits for another on the same target', async () => {
    const order: string[] = [];
    let free = (): void => undefined;
    const first = new Promise<void>((resolve) => {
      free = resolve;
    });
    const jobs = jobsWith({
      run: async (job) => {
        order.push(`begin ${job.requestId}`);
        if (job.requestId === 'e1') await first;
        order.push(`end ${job.requestId}`);
        return {};
      },
    });
    const one = jobs.start(jobs.create(request('e1')).id);
    const two = jobs.start(jobs.create(request('e2')).id);
    const other = jobs.start(jobs.create(request('e3', { plan: plan('z') })).id);
    await other;
    free();
    await Promise.all([one, two]);
    expect(settled.map(({ state }) => state)).toEqual(['done', 'done', 'done']);
    expect(order).toEqual(['begin e1', 'begin e3', 'end e3', 'end e1', 'begin e2', 'end e2']);
  });
});

describe('a job that is cancelled', () => {
  test('while it waits never runs', async () => {
    let runs = 0;
    const jobs = jobsWith({ run: () => Promise.resolve((runs += 1)) });
    const { id } = jobs.create(request('e1', { need: need(now + 1000) }));
    jobs.cancel(id);
    expect(jobs.approve(id)).toBe(false);
    await jobs.start(id);
    expect(runs).toBe(0);
    expect(settled).toMatchObject([{ id, state: 'cancelled', steps: [{ state: 'waiting' }] }]);
  });

  test('while it runs ends the step that is under way, and begins no other', async () => {
    const ran: number[] = [];
    const jobs = jobsWith({
      run: (job, n) => {
        ran.push(n);
        if (n === 1) jobs.cancel(job.id);
        expect(jobs.isCancelled(job.id)).toBe(n === 1);
        return Promise.resolve({ n });
      },
    });
    const { id } = jobs.create(request('e1', { plan: plan('a', 'b', 'c', 'd'), inputs: [{}, {}, {}, {}] }));
    await jobs.start(id);
    expect(ran).toEqual([0, 1]);
    const notBegun = { state: 'failed', failure: { id: 'job.cancelled' } };
    expect(settled).toMatchObject([{ state: 'cancelled', steps: [{ state: 'done' }, { state: 'done' }, notBegun, notBegun] }]);
  });

  test('in its last step is done', async () => {
    const jobs = jobsWith({
      run: (job) => {
        jobs.cancel(job.id);
        return Promise.resolve({});
      },
    });
    await jobs.start(jobs.create(request('e1')).id);
    expect(settled).toMatchObject([{ state: 'done' }]);
  });
});

test('of jobs that hold a lock one runs at a time, and another job waits for neither', async () => {
  const order: string[] = [];
  const first = Promise.withResolvers<null>();
  const jobs = jobsWith({
    run: async (job) => {
      order.push(`begin ${job.requestId}`);
      if (job.requestId === 'e1') await first.promise;
      order.push(`end ${job.requestId}`);
      return {};
    },
  });
  const locking = (target: string): Plan => ({ ...plan(target), command: 'locking' });
  const one = jobs.start(jobs.create(request('e1', { plan: locking('a') })).id);
  const two = jobs.start(jobs.create(request('e2', { plan: locking('b') })).id);
  await jobs.start(jobs.create(request('e3', { plan: plan('c') })).id);
  first.resolve(null);
  await Promise.all([one, two]);
  expect(order).toEqual(['begin e1', 'begin e3', 'end e3', 'end e1', 'begin e2', 'end e2']);
});

describe('after a crash', () => {
  /** What a kill leaves: a job that was running its second of three items. */
  function cutOff(more: Partial<JobRequest> = {}): string {
    const jobs = jobsWith({});
    const { id } = jobs.create(request('e1', { plan: plan('a', 'b', 'c'), inputs: [{}, {}, {}], ...more }));
    const rows = new JobStore(store);
    rows.move(id, 'approved', 'running', now);
    rows.setStep(id, { n: 0, state: 'done', result: 'kept', failure: null, work: null });
    rows.setStep(id, { n: 1, state: 'running', result: null, failure: null, work: null });
    return id;
  }

  test('what was cut off holds no lock', () => {
    const id = cutOff();
    const jobs = jobsWith({});
    expect(jobs.get(id)?.state).toBe('running');
    expect(jobs.running()).toEqual([]);
  });

  test('what ran is looked at and never run again', async () => {
    cutOff();
    let runs = 0;
    await jobsWith({ run: () => Promise.resolve((runs += 1)), probe: () => Promise.resolve('found') }).recover();
    expect(runs).toBe(0);
    expect(settled).toMatchObject([
      {
        state: 'failed',
        steps: [
          { state: 'done', result: 'kept' },
          { state: 'done', result: 'found' },
          { state: 'failed', failure: { id: 'job.interrupted' } },
        ],
      },
    ]);
  });

  test('what was at work is not cancelled before it is looked at', async () => {
    const id = cutOff();
    expect(jobsWith({}).cancel(id)).toBe(false);
    await jobsWith({ probe: () => Promise.resolve('found') }).recover();
    expect(settled).toMatchObject([{ steps: [{ state: 'done' }, { state: 'done' }, { failure: { id: 'job.interrupted' } }] }]);
  });

  test('what was cut off between two steps is cancelled by the next start, and what is done stays', async () => {
    const id = cutOff({ origin: { kind: 'room', roomId: '!room:example.org', eventId: '$e1', threadId: null } });
    new JobStore(store).setStep(id, { n: 1, state: 'waiting', result: null, failure: null, work: null });
    const jobs = jobsWith({});
    expect(jobs.cancel(id)).toBe(true);
    expect(jobs.isCancelled(id)).toBe(true);
    expect(jobs.isCancelledMeanwhile(id)).toBe(true);
    await jobsWith({
      run: () => Promise.reject(new Error('it ran')),
      probe: () => Promise.reject(new Error('it was looked at')),
    }).recover();
    const notBegun = { state: 'failed', failure: { id: 'job.cancelled' } };
    expect(settled).toMatchObject([{ id, state: 'cancelled', steps: [{ state: 'done', result: 'kept' }, notBegun, notBegun] }]);
  });

  test('what cannot be told is unknown', async () => {
    cutOff();
    await jobsWith({ probe: () => Promise.reject(new Failure('homeserver.unreachable')) }).recover();
    expect(settled).toMatchObject([{ state: 'unknown', steps: [{}, { state: 'unknown', failure: { id: 'job.unknown' } }, {}] }]);
  });

  test('what was approved and is young runs, what is old does not', async () => {
    const before = jobsWith({});
    const old = before.create(request('e1'));
    now += 300_001;
    const young = before.create(request('e2'));
    const jobs = jobsWith({});
    await jobs.recover();
    await jobs.stop(1000);
    expect(settled.map(({ id, state }) => [id, state]).sort()).toEqual(
      [
        [old.id, 'expired'],
        [young.id, 'done'],
      ].sort(),
    );
  });
});
