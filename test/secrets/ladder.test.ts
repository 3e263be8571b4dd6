import { describe, expect, test } from '@jest/globals';
import { Handovers, type HandoversOptions } from '../../src/secrets/handovers.ts';
import { Ladder, type Rung, type Way } from '../../src/secrets/ladder.ts';

const no = (refused: string): Rung => ({ offer: () => Promise.resolve({ refused }) });
const yes = (to: string): Rung => ({ offer: () => Promise.resolve({ to }) });
const alice = { person: 'alice', userId: '@alice:x' };
const shell = { person: null, userId: null };
const account = { userId: '@carol:x', email: null };
const choose = (
  rungs: Partial<Record<Exclude<Way, 'file'>, Rung>>,
  order: Way[],
  asked?: Way,
  asker: typeof alice | typeof shell = alice,
) =>
  new Ladder({ invite: no('no mail'), dm: no('no device'), age: no('no key'), ...rungs }, new Handovers({} as HandoversOptions)).choose(
    order,
    asked,
    asker,
    account,
  );

describe('a password goes', () => {
  test('by the first way of the configuration that can be', async () => {
    expect(await choose({ age: yes('age1x') }, ['age', 'file'])).toEqual({ way: 'age', to: 'age1x', why: [] });
    expect(await choose({ age: yes('age1x') }, ['file', 'age'])).toEqual({ way: 'file', to: null, why: [] });
    expect(await choose({ age: yes('age1x') }, ['invite', 'age'])).toEqual({ way: 'age', to: 'age1x', why: ['no mail'] });
  });

  test('into the file where nothing else can be, with all the reasons', async () => {
    expect(await choose({}, ['invite', 'age'])).toEqual({ way: 'file', to: null, why: ['no mail', 'no key'] });
  });

  test('by the way that was asked for, and else down from there', async () => {
    expect(await choose({ invite: yes('c@x') }, ['file'], 'invite')).toEqual({ way: 'invite', to: 'c@x', why: [] });
    expect(await choose({ age: yes('age1x') }, ['file'], 'invite')).toEqual({ way: 'age', to: 'age1x', why: ['no mail', 'no device'] });
    expect(await choose({ dm: yes('@a:x') }, ['file'], 'dm')).toEqual({ way: 'dm', to: '@a:x', why: [] });
    expect(await choose({ invite: yes('c@x') }, ['invite'], 'age')).toEqual({ way: 'file', to: null, why: ['no key'] });
    expect(await choose({ invite: yes('c@x') }, ['invite'], 'file')).toEqual({ way: 'file', to: null, why: [] });
  });

  test('into the file for the shell, unless another way is asked for', async () => {
    expect(await choose({ invite: yes('c@x') }, ['invite'], undefined, shell)).toEqual({ way: 'file', to: null, why: [] });
    expect(await choose({ invite: yes('c@x') }, ['file'], 'invite', shell)).toEqual({ way: 'invite', to: 'c@x', why: [] });
  });
});
