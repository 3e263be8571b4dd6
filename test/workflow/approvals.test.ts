import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '../../src/failures/failure.ts';
import { configOf, Court, requesterOf, start } from './support.ts';

/** Votes, and the time at which they come; test/integration/approvals.test.ts has them in a room. */

const minute = 60_000;
const hour = 60 * minute;
const signed = { kind: 'decrypted', deviceId: 'D', crossSigned: true, identity: 'key' } as const;

let dir: string;
let court: Court;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'approvals-'));
  court = new Court(dir);
});

afterEach(() => {
  court.close();
  rmSync(dir, { recursive: true });
});

describe('the time to approve', () => {
  test('lasts to its last millisecond, and not one longer', () => {
    const [first, second] = [court.ask({ until: start + hour }), court.ask({ until: start + hour })];
    court.now = start + hour;
    expect(court.jobs.expire()).toBe(0);
    expect(court.vote('bob', first)).toMatchObject({ kind: 'approved', job: { state: 'approved' } });
    court.now += 1;
    expect(court.vote('bob', second)).toMatchObject({ kind: 'ended', job: { state: 'expired' } });
    expect(court.approved).toEqual([first]);
    expect(court.settled).toMatchObject([{ id: second, state: 'expired' }]);
  });

  test('is over for a vote and for the sweep alike', () => {
    const job = court.ask({ until: start + hour });
    court.now = start + hour + 1;
    expect(court.jobs.expire()).toBe(1);
    expect(court.vote('bob', job)).toMatchObject({ kind: 'refused', failure: { id: 'approval.not-waiting' } });
    expect(court.approved).toEqual([]);
  });

  test('does not come back with a clock that is set forward and back', () => {
    const job = court.ask({ until: start + hour });
    court.now = start + 48 * hour;
    court.jobs.expire();
    court.now = start + minute;
    expect(court.vote('bob', job)).toMatchObject({ kind: 'refused', failure: { id: 'approval.not-waiting' } });
    expect(court.approved).toEqual([]);
  });

  test('is still there with a clock that is set back, and the job runs once', async () => {
    const job = court.ask({ until: start + hour });
    court.now = start - 30 * 24 * hour;
    expect(court.jobs.expire()).toBe(0);
    expect(court.vote('bob', job).kind).toBe('approved');
    await court.jobs.start(job);
    court.now = start + 30 * 24 * hour;
    await court.jobs.start(job);
    expect(court.ran).toEqual([job]);
  });

  test('ends for what is approved and could not begin: at the edge it begins, after it it does not', async () => {
    const [first, second] = [court.ask(), court.ask()];
    court.vote('bob', first);
    court.vote('bob', second);
    court.now = start + 5 * minute;
    await court.jobs.start(first);
    court.now += 1;
    await court.jobs.start(second);
    expect(court.ran).toEqual([first]);
    expect(court.jobs.get(second)?.state).toBe('expired');
  });
});

describe('an approval that is taken back', () => {
  test('counts no more before the run, and another of the same person counts again', () => {
    const job = court.ask();
    court.vote('bob', job, { eventId: '$first' });
    expect(court.approvals.withdraw('$first')).toMatchObject({ job: { id: job }, inTime: true });
    expect(court.jobs.get(job)?.state).toBe('pending');
    expect(court.approvals.decisions(job)).toEqual([]);
    expect(court.approvals.withdraw('$first')).toBeNull();
    expect(court.vote('bob', job, { eventId: '$second' }).kind).toBe('approved');
    expect(court.events('job.')).toEqual(['job.requested', 'job.approved', 'job.withdrawn', 'job.approved']);
  });

  test('is too late when it runs, and means nothing for what was no approval', async () => {
    const job = court.ask();
    court.vote('bob', job, { eventId: '$vote' });
    await court.jobs.start(job);
    expect(court.approvals.withdraw('$vote')).toMatchObject({ inTime: false });
    expect(court.jobs.get(job)?.state).toBe('done');
    expect(court.approvals.withdraw('$nothing')).toBeNull();
  });

  test('leaves that of another person of two', () => {
    const job = court.ask({ persons: 2 }, { requester: { kind: 'shell' } });
    court.vote('bob', job, { eventId: '$bob' });
    court.approvals.withdraw('$bob');
    expect(court.vote('carol', job)).toMatchObject({ kind: 'counted', missing: 1 });
    expect(court.vote('alice', job).kind).toBe('approved');
  });
});

describe('in the same millisecond', () => {
  test('two approvals are one run', async () => {
    const job = court.ask();
    expect([court.vote('bob', job).kind, court.vote('carol', job).kind]).toEqual(['approved', 'refused']);
    await Promise.all(court.approved.map((id) => court.jobs.start(id)));
    expect([court.approved, court.ran]).toEqual([[job], [job]]);
  });

  test('an approval and a refusal are one end: the one that is heard first, and a refusal also after an approval', async () => {
    const [first, second] = [court.ask(), court.ask()];
    court.vote('bob', first);
    expect(court.vote('carol', first, { verdict: 'veto' })).toMatchObject({ kind: 'ended', job: { state: 'vetoed' } });
    court.vote('carol', second, { verdict: 'veto' });
    expect(court.vote('bob', second).kind).toBe('refused');
    await Promise.all([first, second].map((id) => court.jobs.start(id)));
    expect(court.ran).toEqual([]);
  });

  test('of two persons that are needed each counts once, however often it says so', () => {
    const job = court.ask({ persons: 2 }, { requester: { kind: 'shell' } });
    expect(court.vote('bob', job)).toMatchObject({ kind: 'counted', missing: 1 });
    expect(court.vote('bob', job)).toMatchObject({ kind: 'counted', missing: 1 });
    expect(court.vote('carol', job).kind).toBe('approved');
    expect(court.approved).toEqual([job]);
  });

  test('the same event is one approval of one job', () => {
    const [first, second] = [court.ask(), court.ask()];
    expect(court.vote('bob', first, { eventId: '$same' }).kind).toBe('approved');
    expect(court.vote('bob', first, { eventId: '$same' }).kind).toBe('refused');
    court.vote('bob', second, { eventId: '$same' });
    expect(court.approved).toEqual([first]);
  });
});

describe('a code', () => {
  const code = '7F3A-91';
  const thrown = (work: () => unknown): unknown => {
    try {
      return work();
    } catch (error) {
      return error instanceof Failure ? error.id : error;
    }
  };

  test('may be typed wrong five times by one person; after that the right one is refused too, to that person, for 15 min', () => {
    const job = court.ask({ way: 'code', typed: code });
    for (let n = 0; n < 5; n += 1) expect(thrown(() => court.approvals.find(`7F3A-0${n}`, 'bob'))).toBe('approval.wrong-code');
    expect(thrown(() => court.approvals.find(code, 'bob'))).toBe('approval.too-many-attempts');
    expect(court.approvals.find(code, 'carol').job.id).toBe(job);
    // The wall clock is not asked: it may be set.
    court.now += 24 * hour;
    court.monotonic += 15 * minute - 1;
    expect(thrown(() => court.approvals.find(code, 'bob'))).toBe('approval.too-many-attempts');
    court.monotonic += 1;
    expect(court.approvals.find(code, 'bob')).toMatchObject({ by: 'typed', job: { id: job } });
  });

  test('counts only typed, in an encrypted room, from a signed device, by the identity that is known', () => {
    court.identities.set('@bob:hs.test', 'key');
    const job = court.ask({ way: 'code', typed: code });
    const votes = [
      [{ by: 'reaction', trust: signed }, 'approval.must-be-typed'],
      [{ by: 'id', trust: signed }, 'approval.must-be-typed'],
      [{ by: 'typed' }, 'approval.untrusted-device'],
      [{ by: 'typed', trust: { ...signed, crossSigned: false } }, 'approval.untrusted-device'],
      [{ by: 'typed', trust: { ...signed, identity: 'another' } }, 'access.identity-changed'],
    ] as const;
    for (const [vote, id] of votes) expect(court.vote('bob', job, vote)).toMatchObject({ kind: 'refused', failure: { id } });
    court.encrypted = false;
    expect(court.vote('bob', job, { by: 'typed', trust: signed })).toMatchObject({ failure: { id: 'approval.plain-room' } });
    court.encrypted = true;
    expect(court.vote('bob', job, { by: 'typed', trust: signed }).kind).toBe('approved');
  });
});

test('a role that goes between approval and run takes the run away, whoever’s it was', async () => {
  const [first, second] = [court.ask(), court.ask({}, { requester: requesterOf('carol') })];
  court.vote('bob', first);
  court.vote('bob', second);
  court.config = configOf({ carol: [] });
  await Promise.all([first, second].map((id) => court.jobs.start(id)));
  expect(court.ran).toEqual([first]);
  expect(court.jobs.get(second)).toMatchObject({ state: 'vetoed', ending: { kind: 'role-lost', person: 'carol' } });
});
