import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, systemIds, type Clock } from '../../../src/clock.ts';
import type { AuditEntry } from '../../../src/audit/audit.ts';
import { Failure } from '../../../src/failures/failure.ts';
import { renderPlain } from '../../../src/reply/plain.ts';
import type { Reply } from '../../../src/reply/reply.ts';
import { ApprovalStore } from '../../../src/store/approvals.ts';
import { Decisions } from '../../../src/store/decisions.ts';
import { JobStore } from '../../../src/store/jobs.ts';
import { ScheduleStore } from '../../../src/store/schedules.ts';
import { Store } from '../../../src/store/store.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import type { SettledJob } from '../../../src/workflow/job.ts';
import { Jobs } from '../../../src/workflow/jobs.ts';
import { jitterOf, runId } from '../../../src/workflow/schedule/schedule.ts';
import { Scheduler, type Preparation, type PrepareRun } from '../../../src/workflow/schedule/scheduler.ts';
import { Schedules, type NewSchedule } from '../../../src/workflow/schedule/schedules.ts';

// Weeks of runs are written to a real file, each with its own fsync.
jest.setTimeout(30_000);

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const start = Date.parse('2026-11-02T12:00:00Z');

let dir: string;
let now: number;
let world: World;
const clock: Clock = { ...systemClock, now: () => now, monotonic: () => now };

interface Told {
  cause: string;
  body: string;
  mentions: readonly string[];
}

/** A scheduler on a store of its own and a clock that a test moves. */
class World {
  readonly store = Store.open(join(dir, 'steward.db'));
  readonly schedules: Schedules;
  readonly jobs: Jobs;
  readonly scheduler: Scheduler;
  readonly scheduleStore = new ScheduleStore(this.store);
  readonly jobStore = new JobStore(this.store);
  /** What ran, by name and the time that was due. */
  readonly ran: string[] = [];
  readonly told: Told[] = [];
  readonly audited: AuditEntry[] = [];
  /** What a run comes to; a read that answers when nothing else is said. */
  prepare: PrepareRun = () => Promise.resolve(answer);
  /** What forbids runs now. */
  held: Failure | null = null;
  /** Resolves when a job may end. */
  job: () => Promise<void> = () => Promise.resolve();

  constructor() {
    const audit = { record: (entry: AuditEntry) => this.audited.push(entry) };
    this.schedules = new Schedules(this.scheduleStore, noStanding, clock, systemIds);
    this.jobs = new Jobs({
      store: this.store,
      audit,
      jobs: this.jobStore,
      approvals: new ApprovalStore(this.store),
      decisions: new Decisions(this.store),
      clock,
      ids: systemIds,
      log: silentLog,
      executor: {
        plan: () => Promise.reject(new Error('nothing waits')),
        run: async (job) => {
          this.#note(job.origin);
          await this.job();
          return { ran: true };
        },
        probe: () => Promise.resolve({ ran: true }),
      },
      events: {
        settled: (job) => {
          this.scheduler.settled(job);
        },
        progress: () => undefined,
        asked: () => undefined,
        countdown: () => undefined,
        started: () => undefined,
      },
      objection: () => null,
      lockOf: () => 'none',
      isVetoHeard: () => true,
      executeWithin: () => 5 * minute,
    });
    this.scheduler = new Scheduler({
      store: this.store,
      audit,
      schedules: this.scheduleStore,
      standing: noStanding,
      isHeld: () => this.held !== null,
      jobStore: this.jobStore,
      jobs: () => this.jobs,
      prepare: async (schedule, origin) => {
        const prepared = this.held === null ? await this.prepare(schedule, origin) : { kind: 'held' as const, failure: this.held };
        if (prepared.kind === 'answer') this.#note(origin);
        return prepared;
      },
      reports: {
        spool: () => Promise.resolve(null),
        // As in the outbox: what was told is not told again.
        tell: (cause, reply) => {
          if (!this.told.some((earlier) => earlier.cause === cause))
            this.told.push({ cause, body: bodyOf(reply), mentions: reply.mentions ?? [] });
        },
        owners: () => ['@owner:hs.test'],
      },
      jobReply: (job) => ({ command: job.command, outcome: job.state === 'done' ? 'done' : 'failed', parts: [] }),
      complete: (_schedule, reply) => reply,
      clock,
      log: silentLog,
    });
  }

  #note(origin: SettledJob['origin']): void {
    if (origin.kind === 'schedule') this.ran.push(`${origin.name} ${new Date(origin.dueAt).toISOString()}`);
  }

  add(name: string, expression: string, more: Partial<NewSchedule> = {}): void {
    this.schedules.add({
      name,
      due: expression,
      expression,
      timeZone: 'UTC',
      line: 'server status',
      command: 'server status',
      tier: 'read',
      requester: { kind: 'person', person: 'alice', userId: '@alice:hs.test' },
      catchUp: 'one',
      jitter: 0,
      ...more,
    });
  }

  /** One look, and all that comes of it but a job that is held up. */
  async look(): Promise<void> {
    this.scheduler.tick();
    await this.scheduler.idle();
    await new Promise(setImmediate);
  }

  /** Lets time pass, stopping at each moment at which something is due. */
  async pass(ms: number): Promise<void> {
    const until = now + ms;
    for (;;) {
      await this.look();
      const next = Math.min(...this.schedules.all().map((schedule) => this.schedules.nextRun(schedule) ?? until), until);
      if (next >= until || now >= until) break;
      now = next > now ? next : now + 10_000;
    }
    now = until;
    await this.look();
  }

  close(): void {
    this.store.close();
  }
}

/** test/workflow/standing.test.ts has the real ones. */
const noStanding = { grant: () => undefined, end: () => false, exceeded: () => undefined, look: () => undefined };

const answer: Preparation = { kind: 'answer', reply: { command: 'server status', outcome: 'done', parts: [] }, refusal: null };
const bodyOf = (reply: Reply): string => renderPlain(reply.parts, { timeZone: 'UTC', prefix: '!', wide: false });

const change: PrepareRun = (schedule, origin) =>
  Promise.resolve({
    kind: 'job',
    request: {
      requestId: runId(schedule, origin.dueAt),
      plan: { command: 'sample', tier: 'change', reasons: [], items: [{ targets: [{ id: 'a' }], changes: [['change a']], data: {} }] },
      inputs: [{}],
      requester: schedule.requester,
      origin,
      need: null,
      undo: null,
      undoes: null,
    },
  });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'scheduler-'));
  now = start;
  world = new World();
});

afterEach(() => {
  world.close();
  rmSync(dir, { recursive: true });
});

/** Steward ends and starts again, as after kill -9. */
function restart(): void {
  const { prepare } = world;
  world.close();
  world = new World();
  world.prepare = prepare;
}

describe('over weeks', () => {
  test('each day has its run by the clock of each zone, through both changes of autumn and of spring', async () => {
    for (const [from, weeks] of [
      ['2026-10-01T00:00:00Z', 6],
      ['2026-03-01T00:00:00Z', 6],
    ] as const) {
      rmSync(dir, { recursive: true });
      dir = mkdtempSync(join(tmpdir(), 'scheduler-'));
      world.close();
      now = Date.parse(from);
      world = new World();
      const zones = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata'];
      for (const timeZone of zones) world.add(timeZone.replace(/.*\//, '').toLowerCase().replace('_', '-'), '30 2 * * *', { timeZone });
      await world.pass(weeks * 7 * day);
      for (const timeZone of zones) {
        const name = timeZone.replace(/.*\//, '').toLowerCase().replace('_', '-');
        const dates = world.ran
          .filter((line) => line.startsWith(`${name} `))
          .map((line) => new Date(line.slice(name.length + 1)).toLocaleDateString('sv-SE', { timeZone }));
        expect(new Set(dates).size).toBe(dates.length);
        expect(dates).toHaveLength(weeks * 7);
      }
      expect(world.told).toHaveLength(zones.length * weeks * 7);
      expect(world.told.filter(({ body }) => /late|missed/.test(body))).toEqual([]);
    }
  });

  test('a restart at any moment loses none and repeats none', async () => {
    world.add('often', '*/10 * * * *');
    world.prepare = change;
    const ran: string[] = [];
    for (let n = 0; n < 15; n += 1) {
      await world.pass(37 * minute + n * 1234);
      ran.push(...world.ran);
      restart();
    }
    expect(new Set(ran).size).toBe(ran.length);
    expect(ran).toHaveLength(Math.floor((now - start) / (10 * minute)));
  });
});

describe('what was missed', () => {
  test('is made up for by one run, which says how late it is and how many there were', async () => {
    world.add('nightly', '30 2 * * *');
    restart();
    now = start + 3 * day;
    await world.pass(hour);
    expect(world.ran).toEqual(['nightly 2026-11-05T02:30:00.000Z']);
    expect(world.told.map(({ body }) => body)).toEqual([
      'nightly · !server status · due 2026-11-05 02:30 UTC, 10 h late; 2 runs before it were missed',
    ]);
    await world.pass(day);
    expect(world.ran).toHaveLength(2);
  });

  test('is only told, and pings, where the schedule does not catch up', async () => {
    world.add('nightly', '30 2 * * *', { catchUp: 'none' });
    now = start + 3 * day;
    await world.pass(hour);
    expect(world.ran).toEqual([]);
    expect(world.told).toMatchObject([
      { body: expect.stringContaining('schedule.missed'), mentions: ['@alice:hs.test', '@owner:hs.test'] },
    ]);
    await world.pass(day);
    expect(world.ran).toEqual(['nightly 2026-11-06T02:30:00.000Z']);
  });

  test('is run as soon as Steward is there again, when a crash kept the job from starting', async () => {
    world.add('nightly', '30 2 * * *');
    world.prepare = change;
    world.jobs.start = () => Promise.resolve();
    await world.pass(15 * hour);
    expect(world.ran).toEqual([]);
    restart();
    now += 6 * hour;
    await world.jobs.recover();
    await world.pass(minute);
    expect(world.ran).toEqual(['nightly 2026-11-03T02:30:00.000Z']);
    expect(world.told).toHaveLength(1);
  });
});

describe('a run that takes long', () => {
  test('lets no other begin: what is due meanwhile is skipped, and told once', async () => {
    world.add('often', '*/10 * * * *');
    world.prepare = change;
    let free = (): void => undefined;
    world.job = () => new Promise((resolve) => (free = resolve));
    await world.pass(45 * minute);
    expect(world.ran).toEqual(['often 2026-11-02T12:10:00.000Z']);
    expect(world.told.map(({ body }) => body)).toEqual([
      expect.stringMatching(/^often · !server status · due 2026-11-02 12:20 UTC\nSkipped, because the run before is still going/),
    ]);
    world.job = () => Promise.resolve();
    free();
    await world.pass(10 * minute);
    expect(world.ran).toEqual(['often 2026-11-02T12:10:00.000Z', 'often 2026-11-02T12:50:00.000Z']);
  });

  test('a read, too; and a crash while it goes leaves it due', async () => {
    world.add('often', '*/10 * * * *');
    let free: (prepared: Preparation) => void = () => undefined;
    world.prepare = () => new Promise((resolve) => (free = resolve));
    now = start + 10 * minute;
    world.scheduler.tick();
    now = start + 31 * minute;
    world.scheduler.tick();
    expect(world.scheduleStore.lastRun(world.schedules.get('often', '').id)).toBeNull();
    free(answer);
    await world.scheduler.idle();
    await world.look();
    expect(world.ran).toEqual(['often 2026-11-02T12:10:00.000Z']);
    expect(world.told.map(({ body }) => body)).toEqual([
      'often · !server status · due 2026-11-02 12:10 UTC',
      expect.stringContaining('Skipped, because the run before was still going.'),
    ]);
    now = start + 40 * minute;
    world.scheduler.tick();
    restart();
    world.prepare = () => Promise.resolve(answer);
    await world.look();
    expect(world.ran).toEqual(['often 2026-11-02T12:40:00.000Z']);
  });
});

describe('a clock that is wrong', () => {
  test('set back, runs none a second time', async () => {
    world.add('nightly', '30 2 * * *');
    world.prepare = change;
    await world.pass(15 * hour);
    expect(world.ran).toHaveLength(1);
    now -= 2 * hour;
    await world.pass(4 * hour);
    expect(world.ran).toHaveLength(1);
    now -= 5 * day;
    await world.pass(6 * day);
    expect(world.ran).toHaveLength(2 + 5 - 1);
    expect(new Set(world.ran).size).toBe(world.ran.length);
    expect(world.told.filter(({ body }) => body.includes('The clock was set back'))).toHaveLength(1);
  });

  test('set forward by a year, makes one run, and goes on when it is set right', async () => {
    world.add('nightly', '30 2 * * *');
    now += 365 * day;
    await world.look();
    expect(world.ran).toHaveLength(1);
    expect(world.told[0]?.body).toMatch(/, 10 h late; at least 199 runs before it were missed$/);
    now -= 365 * day;
    await world.pass(3 * day);
    expect(world.ran).toEqual([
      'nightly 2027-11-02T02:30:00.000Z',
      'nightly 2026-11-03T02:30:00.000Z',
      'nightly 2026-11-04T02:30:00.000Z',
      'nightly 2026-11-05T02:30:00.000Z',
    ]);
  });
});

describe('jitter', () => {
  test('is the same for the same run, below what was given, and spread', () => {
    const delays = Array.from({ length: 2000 }, (_, n) => jitterOf({ id: 'abcdefghjk', jitter: 5 * minute }, start + n * day));
    expect(delays).toEqual(Array.from({ length: 2000 }, (_, n) => jitterOf({ id: 'abcdefghjk', jitter: 5 * minute }, start + n * day)));
    expect(Math.max(...delays)).toBeLessThan(5 * minute);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(0);
    for (let fifth = 0; fifth < 5; fifth += 1) {
      const share = delays.filter((delay) => Math.floor(delay / minute) === fifth).length;
      expect(share).toBeGreaterThan(300);
      expect(share).toBeLessThan(500);
    }
  });

  test('delays the run, which is still known by its time', async () => {
    world.add('hourly', '0 * * * *', { jitter: 30 * minute });
    const [schedule] = world.schedules.all();
    const due = start + hour;
    const delay = jitterOf(schedule ?? { id: '', jitter: 0 }, due);
    now = due + delay - 1;
    await world.look();
    expect(world.ran).toEqual([]);
    now += 1;
    await world.look();
    expect(world.ran).toEqual(['hourly 2026-11-02T13:00:00.000Z']);
    await world.pass(5 * hour);
    expect(world.told.filter(({ body }) => /late|missed/.test(body))).toEqual([]);
  });
});

describe('a schedule', () => {
  test('that is paused runs not, and makes up for nothing when it is resumed', async () => {
    world.add('nightly', '30 2 * * *');
    world.schedules.pause(world.schedules.get('nightly', ''));
    await world.pass(3 * day);
    world.schedules.resume(world.schedules.get('nightly', ''));
    await world.pass(hour);
    expect(world.ran).toEqual([]);
    await world.pass(day);
    expect(world.ran).toHaveLength(1);
  });

  test('stops when the person may not run its command any more, and says so to the person and the owners', async () => {
    world.add('nightly', '30 2 * * *');
    world.prepare = () => Promise.resolve({ kind: 'stopped', failure: new Failure('schedule.role-gone', { reason: 'alice is gone' }) });
    await world.pass(3 * day);
    expect(world.told).toMatchObject([{ body: expect.stringContaining('alice is gone'), mentions: ['@alice:hs.test', '@owner:hs.test'] }]);
    expect(world.schedules.get('nightly', '')).toMatchObject({ pausedReason: 'alice is gone' });
    expect(world.audited.map(({ event }) => event)).toEqual(['schedule.stopped']);
  });

  test('that a guard holds is told once, and is made up for once when it may', async () => {
    world.add('hourly', '0 * * * *');
    world.held = new Failure('access.frozen', { reason: 'writes are frozen' });
    await world.pass(5 * hour + 5 * minute);
    expect(world.told).toMatchObject([{ body: expect.stringMatching(/access.frozen.*one run makes up for them when that is over/s) }]);
    expect(world.audited.filter(({ event }) => event === 'schedule.passed-over')).toMatchObject([
      { targets: ['hourly'], failure: 'access.frozen' },
    ]);
    expect(world.ran).toEqual([]);
    world.held = null;
    await world.pass(10 * minute);
    expect(world.ran).toEqual(['hourly 2026-11-02T17:00:00.000Z']);
    expect(world.told[1]?.body).toMatch(/hourly · !server status · due .* 17:00 .*, 5 min late; 4 runs before it were missed/);
    await world.pass(2 * hour);
    expect(world.ran.slice(1)).toEqual(['hourly 2026-11-02T18:00:00.000Z', 'hourly 2026-11-02T19:00:00.000Z']);
    world.held = new Failure('access.frozen');
    await world.pass(2 * hour);
    expect(world.told.filter(({ body }) => body.includes('access.frozen'))).toHaveLength(2);
    expect(world.audited.filter(({ event }) => event === 'schedule.passed-over')).toHaveLength(2);
  });

  test('that a guard holds is not made up for with --catch-up none, nor after a pause, nor where it was asked for', async () => {
    world.add('told', '0 * * * *', { catchUp: 'none' });
    world.add('paused', '0 * * * *');
    world.add('asked', '0 0 1 1 *');
    world.held = new Failure('room.locked');
    world.schedules.ask(world.schedules.get('asked', ''));
    await world.pass(2 * hour + minute);
    expect(world.told.map(({ body }) => body).join()).toContain('!schedule run told runs it');
    world.schedules.pause(world.schedules.get('paused', ''));
    world.held = null;
    await world.pass(minute);
    world.schedules.resume(world.schedules.get('paused', ''));
    await world.pass(minute);
    expect(world.ran).toEqual([]);
    await world.pass(hour);
    expect(world.ran).toEqual(['paused 2026-11-02T15:00:00.000Z', 'told 2026-11-02T15:00:00.000Z']);
  });

  test('that was held is made up for after a restart too, by one job', async () => {
    world.prepare = change;
    world.add('nightly', '30 2 * * *');
    world.held = new Failure('access.frozen');
    await world.pass(3 * day);
    restart();
    await world.pass(hour);
    expect(world.ran).toEqual(['nightly 2026-11-05T02:30:00.000Z']);
    restart();
    await world.pass(hour);
    expect(world.ran).toEqual([]);
    expect(world.scheduleStore.lastRun(world.schedules.get('nightly', '').id)).toMatchObject({ outcome: 'done' });
  });

  test('that fails pings; the next run is made all the same, and the last success stays known', async () => {
    world.add('hourly', '0 * * * *');
    await world.pass(hour + minute);
    const success = world.schedules.get('hourly', '').lastSuccess;
    expect(success).toBe(start + hour);
    world.prepare = () => Promise.reject(new Failure('homeserver.unreachable'));
    await world.pass(2 * hour);
    expect(world.told.slice(1)).toMatchObject([
      { body: expect.stringContaining('homeserver.unreachable'), mentions: ['@alice:hs.test', '@owner:hs.test'] },
      { body: expect.stringContaining('homeserver.unreachable') },
    ]);
    expect(world.schedules.get('hourly', '').lastSuccess).toBe(success);
  });

  test('runs out of turn when it is asked to, and in its turn as well', async () => {
    world.add('nightly', '30 2 * * *');
    world.schedules.ask(world.schedules.get('nightly', ''));
    await world.look();
    await world.look();
    expect(world.ran).toHaveLength(1);
    expect(world.told[0]?.body).toBe('nightly · !server status · asked for');
    await world.pass(day);
    expect(world.ran).toHaveLength(2);
  });

  test('that is removed while it is planned makes no change', async () => {
    world.add('nightly', '30 2 * * *');
    world.prepare = (schedule, origin) => {
      world.schedules.remove(schedule.id, { kind: 'shell' });
      return change(schedule, origin);
    };
    await world.pass(day);
    expect([world.ran, world.told]).toEqual([[], []]);
  });

  test('of which a run could not be written down is tried again, and runs once', async () => {
    world.add('nightly', '30 2 * * *');
    world.prepare = change;
    const transaction = world.store.transaction.bind(world.store);
    let full = true;
    world.store.transaction = (work) => {
      if (full) throw new Failure('store.unwritable');
      return transaction(work);
    };
    await world.pass(15 * hour);
    expect(world.ran).toEqual([]);
    full = false;
    await world.pass(hour);
    expect(world.ran).toEqual(['nightly 2026-11-03T02:30:00.000Z']);
    expect(world.told).toHaveLength(1);
  });
});

describe('a schedule that follows another', () => {
  const failing: Preparation = { kind: 'answer', reply: { command: 'server status', outcome: 'failed', parts: [] }, refusal: null };
  const names = (): string[] => world.ran.map((run) => run.split(' ')[0] ?? '');
  const follow = (): void => {
    world.add('first', '30 2 * * *');
    const first = world.schedules.find('first');
    const { requester, expression, timeZone, line, command, tier, catchUp, jitter } = first as NonNullable<typeof first>;
    const schedule = { name: 'second', due: 'after first', requester, expression, timeZone, line, command, tier, catchUp, jitter };
    world.schedules.add(schedule, null, first?.id ?? null);
  };

  test.each<[string, PrepareRun]>([
    ['reads', () => Promise.resolve(answer)],
    ['changes', change],
  ])('runs after each good run of it, and at no other time: %s', async (_name, prepare) => {
    follow();
    world.prepare = prepare;
    for (let days = 0; days < 3; days += 1) {
      await world.pass(day);
      await world.look();
    }
    expect(names()).toEqual(['first', 'second', 'first', 'second', 'first', 'second']);
    expect(world.told.filter(({ body }) => body.startsWith('second · !server status · after first'))).toHaveLength(3);
  });

  test('runs not after one that failed, nor while it is paused itself', async () => {
    follow();
    world.prepare = (schedule) => Promise.resolve(schedule.name === 'first' ? failing : answer);
    await world.pass(day);
    world.prepare = () => Promise.resolve(answer);
    const second = world.schedules.get('second', 'test');
    world.schedules.pause(second);
    await world.pass(day);
    expect(names()).toEqual(['first', 'first']);
    world.schedules.resume(second);
    await world.pass(day);
    expect(names()).toEqual(['first', 'first', 'first', 'second']);
  });

  test('is due after a crash that came between the two, and runs once', async () => {
    follow();
    world.prepare = change;
    now = Date.parse('2026-11-03T02:30:00Z');
    await world.look();
    // The first has ended; the process goes before the second begins.
    expect(world.scheduleStore.find('second')?.askedAt).not.toBeNull();
    world.close();
    world = new World();
    world.prepare = change;
    await world.look();
    await world.look();
    expect(names()).toEqual(['second']);
  });

  test('takes its times, and goes with it', () => {
    follow();
    const [first, second] = [world.schedules.get('first', 'test'), world.schedules.get('second', 'test')];
    expect(world.schedules.nextRun(second)).toBe(Date.parse('2026-11-03T02:30:00Z'));
    const { requester, line } = first;
    world.schedules.change(first.id, { due: '04:00', expression: '0 4 * * *', timeZone: 'Europe/Berlin', line, requester });
    expect(world.schedules.nextRun(world.schedules.get('second', 'test'))).toBe(Date.parse('2026-11-03T03:00:00Z'));
    world.schedules.remove(first.id, { kind: 'shell' });
    expect(world.schedules.all()).toEqual([]);
  });
});
