import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { answeredBy, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** Killed at every commit of its store in turn, before it and after it: what was asked is done once, and answered once. */

jest.setTimeout(900_000);

/** No step of these stories makes more commits than this. */
const mostCommits = 60;

let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward({ start: false });
});

afterAll(() => home.dispose());

/** Starts Steward so that it ends at a commit; where that is one of its start, it is started once more. */
async function startToCrash(at: string): Promise<void> {
  await steward.start('ready', ['env', `STEWARD_CRASH_AT=${at}`]).catch(() => undefined);
  await keepUp();
}

async function keepUp(): Promise<void> {
  if (!steward.isRunning) await steward.start();
}

/** Waits for what `look` finds in the room, with Steward started again when it was killed. */
async function withRestarts<T>(look: (history: RoomEvent[]) => Promise<T | null> | T | null, what: string): Promise<T> {
  return until(
    async () => {
      await keepUp();
      return look(await steward.alice.history());
    },
    60_000,
    what,
  );
}

const finals = (history: RoomEvent[], eventId: string): RoomEvent[] =>
  history.filter(
    (event) =>
      event.sender === steward.bot.userId &&
      (event.content['m.relates_to'] as { 'm.in_reply_to'?: { event_id?: string } } | undefined)?.['m.in_reply_to']?.event_id === eventId &&
      resultOf(event) !== null &&
      resultOf(event)?.outcome !== 'waiting',
  );

/** Plays a story with a crash at each commit that it makes, until it makes no more. @returns how many crashes there were */
async function atEveryCommit(moment: 'before' | 'after', story: (name: string) => Promise<void>): Promise<number> {
  for (let commit = 1; commit <= mostCommits; commit += 1) {
    await startToCrash(`${moment}:${commit}`);
    const pid = steward.pid;
    await story(`${moment}${commit}`);
    const survived = steward.pid === pid;
    await steward.stop();
    if (survived && commit > 8) return commit - 1;
  }
  return mostCommits;
}

/** The command is answered once, and what the answer says is so. */
async function assertAnswered(said: string, isDone: () => Promise<boolean>): Promise<void> {
  const first = await withRestarts((history) => finals(history, said)[0] ?? null, 'an answer');
  // One more round through the room, so that a second answer would be there.
  const after = await steward.alice.say('!server version');
  await withRestarts((history) => finals(history, after)[0] ?? null, 'an answer to what comes after');
  const answers = finals(await steward.alice.history(), said);
  expect(answers.map((event) => event.content['body'])).toEqual([first.content['body']]);
  const outcome = resultOf(first)?.outcome;
  expect(['done', 'failed', 'unknown']).toContain(outcome);
  if (outcome !== 'unknown') expect(await isDone()).toBe(outcome === 'done');
}

test.each(['before', 'after'] as const)('an account is made once, with a crash %s each commit', async (moment) => {
  const crashes = await atEveryCommit(moment, async (name) => {
    const said = await steward.alice.say(`!user create new${name}`);
    await assertAnswered(said, async () => (await home.account(`new${name}`)) !== null);
  });
  expect(crashes).toBeGreaterThan(8);
});

test.each(['before', 'after'] as const)('what bob approves is done once, with a crash %s each commit', async (moment) => {
  const crashes = await atEveryCommit(moment, async (name) => {
    await home.register(`old${name}`);
    const said = await steward.alice.say(`!user deactivate old${name}`);
    const reacted = new Set<string>();
    // A reaction that came while Steward was away is asked again.
    await withRestarts(async (history) => {
      const prompt = history.filter((event) => answeredBy(event) === said && resultOf(event)?.outcome === 'waiting').at(-1);
      if (prompt !== undefined && !reacted.has(prompt.event_id)) {
        reacted.add(prompt.event_id);
        await steward.bob.react(prompt.event_id, '✅');
      }
      return finals(history, said)[0] ?? null;
    }, 'an end of what bob approved');
    await assertAnswered(said, async () => (await home.account(`old${name}`))?.deactivated === true);
  });
  expect(crashes).toBeGreaterThan(8);
});
