import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { RoomEvent } from '../../kit/client.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, relationOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** A change that waits for ✅ of the person who asked. Whether it ran is seen by which password logs in. */

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
  /** Whether the password is still the one from before. */
  unchanged: () => Promise<boolean>;
}

/** alice asks for a new password of a new account. */
async function asked(of: Steward = steward, line = '!user update-password NAME'): Promise<Asked> {
  made += 1;
  const name = `target${made}`;
  const { password } = await home.register(name);
  const said = await of.alice.say(line.replace('NAME', name));
  return { name, said, prompt: await of.alice.prompt(said), unchanged: () => home.logsIn(name, password) };
}

/** The keys by which Steward itself has reacted to an event. */
async function marks(eventId: string): Promise<string[]> {
  const own = (await steward.alice.history()).filter(
    (event) => event.type === 'm.reaction' && event.sender === steward.bot.userId && relationOf(event)['event_id'] === eventId,
  );
  return own.map((event) => String(relationOf(event)['key'])).sort();
}

test('a new password waits for ✅ of the person who asked, and then it is the one on the host', async () => {
  const { name, said, prompt, unchanged } = await asked();

  expect(prompt.content).toMatchObject({ msgtype: 'm.text', 'm.mentions': { user_ids: [home.userId('alice')] } });
  expect(bodyOf(prompt)).toContain(home.userId(name));
  await until(async () => (await marks(prompt.event_id)).join() === '✅,❌', 5000, 'the buttons are there');
  await steward.alice.ask(sentinel);
  expect(await unchanged()).toBe(true);

  await steward.alice.react(prompt.event_id, '✅');
  expect(resultOf(await steward.alice.answer(said))).toMatchObject({
    command: 'user update-password',
    outcome: 'done',
    job_id: resultOf(prompt)?.job_id,
  });

  expect(await unchanged()).toBe(false);
  expect(await home.logsIn(name, steward.password(name) ?? '')).toBe(true);
  await until(async () => (await marks(said)).includes('✅'), 5000, 'the command is marked');
});

test('✅ of another person changes nothing and is told; the requester can still confirm', async () => {
  const { said, prompt, unchanged } = await asked();

  const reaction = await steward.bob.react(prompt.event_id, '✅');
  const told = await steward.bob.answer(prompt.event_id);
  await steward.bob.ask(sentinel);

  expect(resultOf(told)).toMatchObject({ outcome: 'refused', error_id: 'access.not-requester' });
  expect(bodyOf(told)).toContain('only alice asked');
  expect(await unchanged()).toBe(true);
  expect(await marks(reaction)).toEqual([]);
  await steward.alice.react(prompt.event_id, '✅');
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(await unchanged()).toBe(false);
});

test('❌ declines for good', async () => {
  const { said, prompt, name, unchanged } = await asked();

  await steward.alice.react(prompt.event_id, '❌');
  expect(resultOf(await steward.alice.answer(said))).toMatchObject({ outcome: 'refused', error_id: 'access.declined' });
  await steward.alice.react(prompt.event_id, '✅');
  await steward.alice.ask(sentinel);

  expect(await unchanged()).toBe(true);
  expect(steward.password(name)).toBeNull();
  expect((await steward.alice.answers(said)).map((event) => resultOf(event)?.outcome)).toEqual(['waiting', 'refused']);
});

test.each([
  ['with a variation selector', '✅\ufe0f'],
  ['with a skin tone', '✅\u{1f3fd}'],
])('✅ %s is ✅', async (_, key) => {
  const { said, prompt, unchanged } = await asked();

  await steward.alice.react(prompt.event_id, key);

  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(await unchanged()).toBe(false);
});

test('no other reaction confirms, and no reaction elsewhere', async () => {
  const { prompt, said, unchanged } = await asked();
  const alike = await steward.bob.say(bodyOf(prompt), { 'org.steward.result': prompt.content['org.steward.result'] });

  for (const key of ['👍', '✔️', 'yes', '✅✅', '']) await steward.alice.react(prompt.event_id, key).catch(() => undefined);
  await steward.alice.react(said, '✅');
  await steward.alice.react(alike, '✅');
  await steward.alice.say('✅', { 'm.relates_to': { 'm.in_reply_to': { event_id: prompt.event_id } } });
  await steward.alice.ask(sentinel);

  expect(await unchanged()).toBe(true);
  expect((await steward.alice.answers(said)).map((event) => resultOf(event)?.outcome)).toEqual(['waiting']);
});

test('-y confirms at once, without a prompt', async () => {
  const { password } = await home.register('quick');

  const said = await steward.alice.say('!user update-password -u quick -y');

  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(await home.logsIn('quick', password)).toBe(false);
  expect((await steward.alice.answers(said)).map((event) => resultOf(event)?.outcome)).toEqual(['done']);
});

test('several targets are one prompt that names each, and one ✅', async () => {
  const said = await steward.alice.say('!user create\n```\ncrowd1\ncrowd2\n```');
  const prompt = await steward.alice.prompt(said);

  for (const name of ['crowd1', 'crowd2']) {
    expect(bodyOf(prompt)).toContain(home.userId(name));
    expect(await home.account(name)).toBeNull();
  }
  await steward.alice.react(prompt.event_id, '✅');
  expect(bodyOf(await steward.alice.answer(said))).toContain('2 of 2 done');
  for (const name of ['crowd1', 'crowd2']) expect(await home.account(name)).not.toBeNull();
});

test('what the world has changed since the prompt is not run', async () => {
  const { name, said, prompt } = await asked();
  await home.deactivate(name);

  await steward.alice.react(prompt.event_id, '✅');

  expect(resultOf(await steward.alice.answer(said))).toMatchObject({ outcome: 'refused', error_id: 'access.plan-changed' });
  expect(await home.account(name)).toMatchObject({ deactivated: true });
  expect(steward.password(name)).toBeNull();
});

test('a prompt outlives a restart', async () => {
  const { said, prompt, unchanged } = await asked();
  await steward.stop();
  await steward.start();

  await steward.alice.react(prompt.event_id, '✅');

  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(await unchanged()).toBe(false);
});

test('✅ given while Steward was away is asked again and never run', async () => {
  const { said, prompt, unchanged } = await asked();
  await steward.stop();
  await steward.alice.react(prompt.event_id, '✅');
  await steward.start();

  const again = await steward.alice.prompt(said, prompt.event_id);
  await steward.alice.ask(sentinel);

  expect(bodyOf(again)).toContain('while I was away');
  expect(await unchanged()).toBe(true);
  await steward.alice.react(again.event_id, '✅');
  expect(resultOf(await steward.alice.answer(said))?.outcome).toBe('done');
  expect(await unchanged()).toBe(false);
});

test('❌ given while Steward was away is heeded', async () => {
  const { said, prompt, unchanged } = await asked();
  await steward.stop();
  await steward.alice.react(prompt.event_id, '❌');
  await steward.start();

  expect(resultOf(await steward.alice.answer(said))).toMatchObject({ outcome: 'refused', error_id: 'access.declined' });
  await steward.alice.react(prompt.event_id, '✅');
  await steward.alice.ask(sentinel);
  expect(await unchanged()).toBe(true);
});

test('a prompt that nobody answers expires, and ✅ comes too late', async () => {
  const hasty = await home.steward({ config: { limits: { confirmation: '2s' } } });
  const { said, prompt, unchanged } = await asked(hasty);

  expect(resultOf(await hasty.alice.answer(said))).toMatchObject({ outcome: 'refused', error_id: 'access.expired' });
  await hasty.alice.react(prompt.event_id, '✅');
  await hasty.alice.ask(sentinel);

  expect(await unchanged()).toBe(true);
  expect((await hasty.alice.answers(said)).map((event) => resultOf(event)?.outcome)).toEqual(['waiting', 'refused']);
});

test.each([
  ['has no role any more', []],
  ['may only read now', ['reader']],
])('who %s since a reload cannot confirm what is pending', async (_, roles) => {
  const strict = await home.steward({ config: { roles: { owner: { owner: true }, reader: { request: { tier: 'read' } } } } });
  const { said, prompt, unchanged } = await asked(strict);
  strict.configure({
    people: { alice: { user_ids: [home.userId('alice')], roles }, bob: { user_ids: [home.userId('bob')], roles: ['owner'] } },
  });
  strict.reload();
  await until(() => strict.log.includes('read again'), 5000, 'the configuration is read');

  await strict.alice.react(prompt.event_id, '✅');
  const told = await strict.alice.answer(said);
  await strict.bob.ask(sentinel);

  expect(resultOf(told)?.outcome).toBe('refused');
  expect(await unchanged()).toBe(true);
});
