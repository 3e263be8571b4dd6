import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { openClient } from '../../kit/client.ts';
import { Court } from '../workflow/support.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** Many of what there are few of on other days: requests that wait, reactions on one prompt. */

jest.setTimeout(120_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterAll(() => home.dispose());

const sentinel = '!server version';

/** Works through items with some at a time. */
async function each<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items];
  const one = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

function rows(steward: Steward, sql: string): Record<string, unknown>[] {
  const database = new DatabaseSync(join(steward.dataDir, 'steward.db'), { readOnly: true, timeout: 5000 });
  try {
    return database.prepare(sql).all();
  } finally {
    database.close();
  }
}

test('1 000 requests that wait slow neither the start nor a vote, and their list is a message that can be read', async () => {
  const steward = await home.steward();
  await steward.alice.ask(sentinel);
  await steward.stop();
  const startEmpty = await timed(() => steward.start());
  const roundTrip = await timed(() => steward.alice.ask(sentinel));
  await steward.stop();
  const court = new Court(steward.dataDir);
  court.now = Date.now();
  const requester = { kind: 'person', person: 'alice', userId: home.userId('alice') } as const;
  court.store.transaction(() => {
    for (let n = 0; n < 1000; n += 1) {
      const items = [{ targets: [{ id: home.userId(`pending${n}`) }], changes: [['deactivate']], data: {} }];
      court.ask({}, { requester, plan: { command: 'user deactivate', tier: 'destructive', reasons: [], items } });
    }
  });
  court.close();

  const startFull = await timed(() => steward.start());
  const list = await steward.bob.ask('!approval list');
  await home.register('thousand');
  const said = await steward.alice.say('!user deactivate thousand');
  const prompt = await steward.alice.prompt(said);
  const decided = await timed(async () => {
    await steward.bob.react(prompt.event_id, '✅');
    await steward.alice.answer(said);
  });

  expect(startFull).toBeLessThan(startEmpty + 1000);
  expect(bodyOf(list)).toMatch(/and 980 more; !approval list --csv has all/);
  expect(bodyOf(list).split('\n').length).toBeLessThan(30);
  expect((await home.account('thousand'))?.deactivated).toBe(true);
  // A run of its own reads and writes at the homeserver beside the message.
  expect(decided).toBeLessThan(5 * roundTrip + 1000);
  const [vote] = rows(
    steward,
    "SELECT approved_at - created_at AS waited, started_at - approved_at AS begun FROM jobs WHERE state = 'done'",
  );
  expect(Number(vote?.['begun'])).toBeLessThan(500);
  expect(rows(steward, "SELECT count(*) AS n FROM jobs WHERE state = 'pending'")).toEqual([{ n: 1000 }]);
  await steward.stop();
});

test('300 reactions on one prompt are one run, and no flood of answers', async () => {
  const steward = await home.steward();
  const mallory = openClient({ ...(await home.register('mallory')), url: home.synapse.url });
  await home.register('stormed');
  const said = await steward.alice.say('!user deactivate stormed');
  const prompt = await steward.alice.prompt(said);
  // Of one person each key counts once at the homeserver, so that the variants of ✅ are tried too.
  const variants = ['✅', '✅\ufe0f', ...['🏻', '🏼', '🏽', '🏾', '🏿'].map((tone) => `✅${tone}`)];
  const others = Array.from({ length: 93 }, (_, n) => String.fromCodePoint(0x1f400 + n));
  const storm = [...variants, ...others].flatMap((key) => [
    { who: steward.alice.client, key },
    { who: steward.carol.client, key },
    { who: steward.bob.client, key },
  ]);
  expect(storm).toHaveLength(300);
  await expect(mallory.react(steward.roomId, prompt.event_id, '✅')).rejects.toThrow();

  await each(storm, 20, ({ who, key }) => who.react(steward.roomId, prompt.event_id, key));
  expect(resultOf(await steward.alice.answer(said, 30_000))?.outcome).toBe('done');
  await steward.bob.ask(sentinel);

  const answers = (await steward.alice.history()).filter(
    (event) => event.sender === steward.bot.userId && event.type === 'm.room.message' && resultOf(event)?.command === 'user deactivate',
  );
  const outcomes = answers.map((event) => resultOf(event)?.error_id ?? resultOf(event)?.outcome);
  const counted = (outcome: string): number => outcomes.filter((each) => each === outcome).length;
  // The prompt and its end, and to one person the same refusal once: it is the own request, or it runs already.
  expect([counted('waiting'), counted('done')]).toEqual([1, 1]);
  expect(counted('approval.own-request')).toBeLessThanOrEqual(1);
  expect(counted('approval.not-waiting')).toBeLessThanOrEqual(2);
  expect(outcomes.length).toBe(2 + counted('approval.own-request') + counted('approval.not-waiting'));
  expect(rows(steward, "SELECT state FROM jobs WHERE command = 'user deactivate'")).toEqual([{ state: 'done' }]);
  const approvals = steward.audit().filter(({ record }) => record.event === 'job.approved');
  expect(approvals.map(({ record }) => record.actor.person)).toEqual(['bob']);
  expect((await home.account('stormed'))?.deactivated).toBe(true);
  await steward.stop();
});
