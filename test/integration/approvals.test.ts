import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** What waits for another person, on a real homeserver. Whether it ran is seen by another admin. */

jest.setTimeout(60_000);

let home: Homeserver;
let steward: Steward;
let made = 0;

beforeAll(async () => {
  home = await Homeserver.start();
  steward = await home.steward();
});

afterAll(() => home.dispose());

const sentinel = '!server version';

interface Asked {
  name: string;
  /** The event of the command. */
  said: string;
  prompt: RoomEvent;
  isGone: () => Promise<boolean>;
}

/** alice asks to deactivate a new account. */
async function asked(of: Steward = steward, line = '!user deactivate NAME'): Promise<Asked> {
  made += 1;
  const name = `victim${made}`;
  await home.register(name);
  const said = await of.alice.say(line.replace('NAME', name));
  return { name, said, prompt: await of.alice.prompt(said), isGone: async () => (await home.account(name))?.deactivated === true };
}

describe('destructive', () => {
  test('waits for ✅ of another person; the prompt says all of it, and pings who may approve', async () => {
    const { name, said, prompt, isGone } = await asked();

    expect(prompt.content).toMatchObject({ msgtype: 'm.text', 'm.mentions': { user_ids: [home.userId('bob')] } });
    for (const part of [home.userId(name), 'Asked by alice', 'Cannot be undone', 'within 12 h (until 20', 'bob: react ✅'])
      expect(bodyOf(prompt)).toContain(part);
    expect(await isGone()).toBe(false);
    await steward.bob.react(prompt.event_id, '✅');
    const answer = await steward.alice.answer(said);

    expect(resultOf(answer)).toMatchObject({ command: 'user deactivate', outcome: 'done', job_id: resultOf(prompt)?.job_id });
    expect(bodyOf(answer)).toContain('asked by alice, approved by bob');
    expect(await isGone()).toBe(true);
  });

  test('is refused to the person who asked, told once, and survives kill and start', async () => {
    const { said, prompt, isGone } = await asked();
    await steward.alice.react(prompt.event_id, '✅');
    const told = await steward.alice.answer(prompt.event_id);
    expect(resultOf(told)).toMatchObject({ outcome: 'refused', error_id: 'approval.own-request' });
    await steward.kill();
    await steward.start();
    await steward.alice.ask(sentinel);
    expect(await isGone()).toBe(false);

    await steward.bob.react(prompt.event_id, '✅');

    expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
    expect(await isGone()).toBe(true);
  });
});
