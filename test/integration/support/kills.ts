import { expect } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Content } from '../../../kit/client.ts';
import type { Homeserver } from './homeserver.ts';
import { answeredBy, resultOf } from './seat.ts';
import { until } from './until.ts';

const markOf = (reaction: Content): unknown => (reaction['m.relates_to'] as Content | undefined)?.['key'];

/**
 * Kills a Steward in an encrypted room so many times, while alice talks to it and it answers. Nothing may be undecryptable on
 * either side, and each command is answered once. The seed is in what a failed expectation shows.
 */
export async function killUnderTraffic(home: Homeserver, kills: number): Promise<void> {
  const seed = Date.now() % 1_000_000;
  let state = seed;
  const fraction = (): number => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  const steward = await home.steward({ encrypted: true, config: { limits: { per_minute: 100_000 } } });
  // A client sends its keys to a new device only when it has heard of it.
  await until(async () => resultOf(await steward.alice.ask('!server version'))?.outcome === 'done', 30_000, 'alice knows the device');
  const before = (await steward.alice.history()).filter(({ type }) => type === 'm.reaction').length;
  const said: string[] = [];
  let talking = true;
  const talk = async (): Promise<void> => {
    while (talking) {
      said.push(await steward.alice.say('!help error user.exists'));
      await sleep(20 + fraction() * 150);
    }
  };
  const talked = talk();
  for (let n = 0; n < kills; n += 1) {
    await sleep(fraction() * 900);
    await steward.kill();
    await steward.start();
  }
  talking = false;
  await talked;
  for (const event of said) await steward.alice.answer(event, 60_000);
  await steward.alice.ask('!server version');
  const history = await steward.alice.history();
  expect({ seed, undecryptable: history.filter(({ type }) => type === 'm.room.encrypted').length }).toEqual({ seed, undecryptable: 0 });
  // A command that waits for a start of Steward may carry an hourglass for a while.
  const marks = history.flatMap(({ type, content }) => (type === 'm.reaction' ? [markOf(content)] : [])).slice(before);
  expect({ seed, locks: marks.filter((key) => key === '🔒').length }).toEqual({ seed, locks: 0 });
  const answers = new Map<string, number>();
  for (const event of history) {
    const of = event.sender === steward.bot.userId && event.type === 'm.room.message' ? answeredBy(event) : null;
    if (of !== null) answers.set(of, (answers.get(of) ?? 0) + 1);
  }
  expect({ seed, otherThanOnce: said.filter((event) => answers.get(event) !== 1) }).toEqual({ seed, otherThanOnce: [] });
  await steward.stop();
}
