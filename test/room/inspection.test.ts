import { describe, expect, test } from '@jest/globals';
import type { StateEvent } from '../../src/homeserver/admin-room.ts';
import { inspect, type Expectation, type WeaknessName } from '../../src/room/inspection.ts';

const expected: Expectation = {
  botId: '@bot:x',
  accounts: new Set(['@alice:x', '@bob:x']),
  owners: new Set(['@alice:x']),
  others: ['@other-*:x'],
  encrypted: true,
  federated: false,
  history: 'joined',
};

const event = (type: string, content: Record<string, unknown>, stateKey = '', sender = '@bot:x'): StateEvent => ({
  type,
  state_key: stateKey,
  sender,
  content,
});
const member = (userId: string, membership: string, by = userId): StateEvent => event('m.room.member', { membership }, userId, by);
const levels = { users: { '@alice:x': 50, '@bob:x': 50, '@bot:x': 100 }, state_default: 100, invite: 50, kick: 50, redact: 50 };

/** A sound room, with these events in place of its own. */
function room(...other: StateEvent[]): StateEvent[] {
  const sound = [
    event('m.room.create', { 'm.federate': false, room_version: '11' }),
    event('m.room.join_rules', { join_rule: 'invite' }),
    event('m.room.history_visibility', { history_visibility: 'joined' }),
    event('m.room.guest_access', { guest_access: 'forbidden' }),
    event('m.room.encryption', { algorithm: 'm.megolm.v1.aes-sha2' }),
    event('m.room.power_levels', levels),
    ...['@bot:x', '@alice:x', '@bob:x', '@other-bot:x'].map((userId) => member(userId, 'join')),
  ];
  const key = ({ type, state_key: stateKey }: StateEvent): string => `${type} ${stateKey}`;
  return [...sound.filter((each) => !other.some((given) => key(given) === key(each))), ...other];
}

const without = (type: string): StateEvent[] => room().filter((each) => each.type !== type);
const found = (state: StateEvent[], more: Partial<Expectation> = {}): Partial<Record<WeaknessName, 'mend' | 'move'>> =>
  Object.fromEntries(
    inspect(state, { ...expected, ...more }).weaknesses.map(({ name, mends }) => [name, mends.length > 0 ? 'mend' : 'move']),
  );

test('a sound room has no weakness', () => {
  expect(inspect(room(), expected)).toEqual({ weaknesses: [], strangers: [], hasPower: true, replacement: null });
});

test.each<[string, StateEvent[], Partial<Record<WeaknessName, 'mend' | 'move'>>]>([
  ['anybody may join', room(event('m.room.join_rules', { join_rule: 'public' })), { 'join-rule': 'mend' }],
  ['anybody may knock', room(event('m.room.join_rules', { join_rule: 'knock' })), { 'join-rule': 'mend' }],
  ['there is no join rule', without('m.room.join_rules'), { 'join-rule': 'mend' }],
  ['newcomers read everything', room(event('m.room.history_visibility', { history_visibility: 'shared' })), { history: 'mend' }],
  ['nothing is said of history', without('m.room.history_visibility'), { history: 'mend' }],
  ['history is a word of tomorrow', room(event('m.room.history_visibility', { history_visibility: 'other' })), { history: 'mend' }],
  ['guests may join', room(event('m.room.guest_access', { guest_access: 'can_join' })), { guests: 'mend' }],
  ['others take part', room(event('m.room.create', { room_version: '11' })), { federation: 'move' }],
  ['it is not encrypted', without('m.room.encryption'), { encryption: 'mend' }],
  ['somebody who is nobody is in', room(member('@mallory:x', 'join')), { members: 'mend' }],
  ['somebody who is nobody is invited', room(member('@mallory:x', 'invite', '@bob:x')), { members: 'mend' }],
  ['it was replaced', room(event('m.room.tombstone', { replacement_room: '!new' })), { replaced: 'move' }],
])('%s', (_, state, weaknesses) => {
  expect(found(state)).toEqual(weaknesses);
});

test.each(['leave', 'ban', 'knock'])('who has membership %s is no stranger', (membership) => {
  expect(found(room(member('@mallory:x', membership)))).toEqual({});
});

describe('power', () => {
  const withLevels = (more: object): StateEvent[] => room(event('m.room.power_levels', { ...levels, ...more }));

  test('of a person who is no owner over settings is taken away, and people keep 50', () => {
    const state = withLevels({ users: { ...levels.users, '@bob:x': 99 }, state_default: 50 });
    expect(found(state)).toEqual({ power: 'mend' });
    const [mend] = inspect(state, expected).weaknesses[0]?.mends ?? [];
    const content = (mend as { content: Record<string, unknown> }).content;
    expect(found(room(event('m.room.power_levels', content)))).toEqual({});
    expect(content['users']).toEqual({ '@alice:x': 50, '@bob:x': 50, '@bot:x': 100 });
  });

  test('of an owner is theirs', () => {
    expect(found(withLevels({ users: { ...levels.users, '@alice:x': 100 } }))).toEqual({});
  });

  test('of one who is as strong as the bot cannot be taken away', () => {
    expect(found(withLevels({ users: { ...levels.users, '@bob:x': 100 } }))).toEqual({ power: 'move' });
  });

  test('of everybody to invite is taken away', () => {
    expect(found(withLevels({ invite: 0 }))).toEqual({ power: 'mend' });
  });

  test('of the bot that is too small is told, and then nothing can be mended', () => {
    const state = withLevels({ users: { ...levels.users, '@bot:x': 0 } }).concat(event('m.room.join_rules', { join_rule: 'public' }));
    expect(inspect(state, expected).hasPower).toBe(false);
    const weak = withLevels({ users: { '@alice:x': 100, '@bot:x': 50 } });
    expect(inspect(weak, expected).hasPower).toBe(true);
    expect(found(weak)).toEqual({ 'bot-power': 'move' });
  });

  test('of who made a room of version 12 is above all levels', () => {
    const made = (by: string): StateEvent => event('m.room.create', { 'm.federate': false, room_version: '12' }, '', by);
    const unlisted = event('m.room.power_levels', { ...levels, users: {} });
    expect(inspect(room(made('@bot:x'), unlisted), expected)).toMatchObject({ hasPower: true, weaknesses: [] });
    expect(found(room(made('@mallory:x')))).toEqual({ power: 'move' });
    const second = event('m.room.create', { 'm.federate': false, room_version: '12', additional_creators: ['@bob:x'] });
    expect(found(room(second))).toEqual({ power: 'move' });
  });

  test('hostile levels are no levels', () => {
    const state = withLevels({ users: 'all', events: null, state_default: '0', invite: '0', kick: null });
    expect(() => inspect(state, expected)).not.toThrow();
    expect(inspect(state, expected).hasPower).toBe(false);
  });
});

test('what the configuration lets be is let be', () => {
  const state = room(
    event('m.room.create', { room_version: '11' }),
    event('m.room.history_visibility', { history_visibility: 'shared' }),
    member('@guest:y', 'join'),
  ).filter(({ type }) => type !== 'm.room.encryption');
  expect(found(state, { encrypted: false, federated: true, history: 'shared', others: ['@other-*:x', '@guest:y'] })).toEqual({});
});
