import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ScheduleOrigin } from '../../src/workflow/job.ts';
import type { Plan } from '../../src/workflow/plan.ts';
import type { Schedule } from '../../src/workflow/schedule/schedule.ts';
import { standingFor, standingWarning } from '../../src/workflow/standing.ts';
import { configOf, Court, planOf, requesterOf, start } from './support.ts';

/** Approvals that are given once; test/integration/standing.test.ts has them in a room. */

const day = 24 * 3_600_000;
const shell = { kind: 'shell' } as const;

let dir: string;
let court: Court;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'standing-'));
  court = new Court(dir);
});

afterEach(() => {
  court.close();
  rmSync(dir, { recursive: true });
});

/** A schedule that alice has made, and whose runs `approvers` have approved. */
function schedule(approvers: readonly string[] = ['bob'], maxObjects = 2, ask: Parameters<Court['ask']> = []): Schedule {
  const jobId = court.ask(...ask);
  for (const person of approvers) court.vote(person, jobId);
  court.schedules.add(
    {
      ...{ name: 'tidy', due: 'daily 04:00', expression: '0 4 * * *', timeZone: 'UTC', catchUp: 'one', jitter: 0 },
      ...{ line: 'thing destroy', command: 'thing destroy', tier: 'destructive', requester: requesterOf('alice') },
    },
    { maxObjects, jobId },
  );
  return court.schedules.get('tidy', '');
}

const leave = (plan: Plan = planOf('a')): string | null => {
  const given = court.standing.leave(court.schedules.get('tidy', ''), plan);
  return 'beyond' in given ? given.beyond : null;
};

const origin = (of: Schedule, standing?: ScheduleOrigin['standing']): ScheduleOrigin => ({
  ...{ kind: 'schedule', schedule: of.id, name: of.name, dueAt: start, late: 0, missed: 0, asked: false, catchUp: true },
  ...(standing === undefined ? {} : { standing }),
});

/** A run that the standing approval has let through, written down and not begun. */
function run(of: Schedule): string {
  const given = court.standing.leave(of, planOf('a'));
  if ('beyond' in given) throw new Error(given.beyond);
  return court.ask({}, { need: null, plan: planOf('a'), origin: origin(of, given.standing) });
}

describe('a standing approval', () => {
  test('lets runs begin without a prompt, and says who gave it', async () => {
    const tidy = schedule();
    const id = run(tidy);
    await court.jobs.start(id);
    expect(court.ran).toEqual([id]);
    expect(court.standing.of(tidy.id)).toMatchObject({ uses: 1, usedAt: start, until: start + 90 * day, givers: [{ person: 'bob' }] });
    expect(court.events('standing.')).toEqual(['standing.granted', 'standing.used']);
  });

  test('covers as many objects as it names, and not one more', () => {
    schedule(['bob'], 2);
    expect(leave(planOf('a', 'b'))).toBeNull();
    expect(leave(planOf('a', 'b', 'c'))).toBe('it would change 3 objects, and at most 2 a run were approved');
    const plan = planOf('the place', 'a', 'b');
    expect(leave({ ...plan, items: plan.items.map((item) => ({ ...item, objects: 2 })) })).toBeNull();
  });

  test('never covers what is catastrophic', () => {
    schedule();
    expect(leave({ ...planOf('a'), tier: 'catastrophic', reasons: ['it is yours'] })).toBe('the run is catastrophic, because it is yours');
  });

  test('lasts 90 days to the millisecond, also with a clock that is set back and forward', () => {
    const tidy = schedule();
    court.now = start + standingFor - 1;
    expect(leave()).toBeNull();
    court.now = start - 10 * day;
    expect(leave()).toBeNull();
    court.now = start + standingFor;
    expect(leave()).toMatch(/^its time ended 2027-01-31 12:00/);
    court.standing.look(tidy, () => undefined);
    expect(court.standing.of(tidy.id)).toBeNull();
    court.now = start + day;
    expect(leave()).toMatch(/^its time ended/);
    expect(court.events('standing.')).toEqual(['standing.granted', 'standing.ended']);
  });

  test('is for the command line that was shown', () => {
    const tidy = schedule();
    const given = court.standing.leave({ ...tidy, line: 'thing destroy --all' }, planOf('a'));
    expect(given).toEqual({ beyond: 'it was given for another command line' });
  });

  test('is told of once when it ends within a week', () => {
    const tidy = schedule();
    const told: number[] = [];
    for (let n = 0; n < 100; n += 1) {
      court.now = start + n * day;
      court.standing.look(tidy, ({ until }) => told.push((until - court.now) / day));
    }
    expect(told).toEqual([standingWarning / day]);
  });
});

describe('it counts no more', () => {
  test.each<[string, () => void, RegExp]>([
    ['whose giver is nobody any more', () => (court.config = configOf({ bob: [] })), /bob, who approved it, may not approve destructive/],
    ['whose giver’s identity has changed', () => court.changed.add('bob'), /identity of bob, who approved it, has changed/],
    [
      'whose giver has another identity that was confirmed',
      () => court.identities.set('@bob:hs.test', 'second'),
      /identity of bob, who approved it, has changed/,
    ],
  ])('%s', (_case, change, words) => {
    court.identities.set('@bob:hs.test', 'first');
    schedule();
    expect(leave()).toBeNull();
    change();
    expect(leave()).toMatch(words);
  });

  test('of two givers as soon as one may not approve', () => {
    schedule(['bob', 'carol'], 2, [{ persons: 2 }, { requester: shell }]);
    expect(leave()).toBeNull();
    court.config = configOf({ carol: [] });
    expect(leave()).toMatch(/^carol/);
  });

  test('given by the person who made it, in mode single, when two persons are needed', () => {
    court.config = configOf({}, { approval: { mode: 'single' } });
    const own = { way: 'target', approver: 'requester', typed: 'tidy' } as const;
    const jobId = court.ask(own);
    expect(court.vote('alice', jobId, { by: 'typed' }).kind).toBe('approved');
    court.schedules.add(
      {
        ...{ name: 'tidy', due: 'daily 04:00', expression: '0 4 * * *', timeZone: 'UTC', catchUp: 'one', jitter: 0 },
        ...{ line: 'thing destroy', command: 'thing destroy', tier: 'destructive', requester: requesterOf('alice') },
      },
      { maxObjects: 1, jobId },
    );
    expect(leave()).toBeNull();
    court.config = configOf();
    expect(leave()).toBe('it was approved by the person who made it, and needs another one now');
  });

  test('between planning and beginning: the run is not begun, and says why', async () => {
    const tidy = schedule();
    const [first, second, third] = [run(tidy), run(tidy), run(tidy)];
    court.config = configOf({ bob: [] });
    await court.jobs.start(first);
    court.config = configOf();
    expect(court.standing.revoke(court.standing.of(tidy.id)?.jobId ?? '', shell)?.name).toBe('tidy');
    await court.jobs.start(second);
    court.schedules.remove(tidy.id, shell);
    await court.jobs.start(third);
    expect(court.ran).toEqual([]);
    expect(court.settled.map(({ state, ending }) => [state, ending])).toEqual([
      ['vetoed', { kind: 'standing-ended', reason: expect.stringContaining('bob, who approved it') }],
      ['vetoed', { kind: 'standing-ended', reason: 'it was taken back' }],
      ['vetoed', { kind: 'standing-ended', reason: 'the schedule was removed' }],
    ]);
  });

  test('taken back: once, by the job that it came with alone', () => {
    const tidy = schedule();
    const jobId = court.standing.of(tidy.id)?.jobId ?? '';
    expect(court.standing.revoke('another', shell)).toBeNull();
    expect(court.standing.revoke(jobId, shell)?.name).toBe('tidy');
    expect(court.standing.revoke(jobId, shell)).toBeNull();
    expect(leave()).toBe('it was taken back');
    expect(court.standing.all()).toEqual([]);
  });
});

test('what ran by --break-glass gives none', () => {
  schedule([], 2, [{}, { need: null, requester: shell, origin: shell, breakGlass: 'at night' }]);
  expect(leave()).toBe('nobody has approved its runs beforehand');
  expect(court.events('standing.')).toEqual([]);
});
