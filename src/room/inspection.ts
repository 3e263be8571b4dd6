import type { StateEvent } from '../homeserver/admin-room.ts';

/** What an admin room should be. */
export interface Expectation {
  botId: string;
  /** Accounts of `people:`. */
  accounts: ReadonlySet<string>;
  /** Those of owners, who may have any power. */
  owners: ReadonlySet<string>;
  /** Globs of other accounts that may be there. */
  others: readonly string[];
  encrypted: boolean;
  federated: boolean;
  history: string;
}

export const weaknessNames = [
  'join-rule',
  'guests',
  'history',
  'federation',
  'encryption',
  'power',
  'bot-power',
  'members',
  'replaced',
] as const;
export type WeaknessName = (typeof weaknessNames)[number];

export type Mend = { kind: 'state'; type: string; content: Record<string, unknown> } | { kind: 'remove'; userId: string };

export interface Weakness {
  name: WeaknessName;
  /** What is wrong, without a full stop; the subject is the room. */
  detail: string;
  /** What mends it; empty where only a new room does. */
  mends: readonly Mend[];
}

export interface Inspection {
  weaknesses: readonly Weakness[];
  /** Accounts in the room or invited that are nobody's, and who invited or let them in. */
  strangers: readonly { userId: string; membership: 'join' | 'invite'; by: string }[];
  /** Whether the bot may remove messages and members. */
  hasPower: boolean;
  /** The room that takes its place, `''` where none is named; null where it was not replaced. */
  replacement: string | null;
}

/** State by which somebody could open the room, close the bot out, or read along. */
const protectedTypes = [
  'm.room.power_levels',
  'm.room.join_rules',
  'm.room.history_visibility',
  'm.room.guest_access',
  'm.room.encryption',
  'm.room.server_acl',
  'm.room.tombstone',
];

interface Levels {
  users: Record<string, number>;
  users_default: number;
  events: Record<string, number>;
  state_default: number;
  invite: number;
  kick: number;
  redact: number;
}

/** Compares the state of a room with what it should be. */
export function inspect(state: readonly StateEvent[], expected: Expectation): Inspection {
  const of = (type: string): StateEvent | undefined => state.find((event) => event.type === type && event.state_key === '');
  const create = of('m.room.create');
  const levels = levelsOf(of('m.room.power_levels')?.content ?? {});
  const creators = creatorsOf(create);
  const levelOf = (userId: string): number =>
    creators.has(userId) ? Number.POSITIVE_INFINITY : (levels.users[userId] ?? levels.users_default);
  const toSet = (type: string): number => levels.events[type] ?? levels.state_default;
  const botLevel = levelOf(expected.botId);
  const hasPower = botLevel >= Math.max(levels.redact, levels.kick);
  const strangers = strangersOf(state, expected);
  const tombstone = of('m.room.tombstone');
  const replacement = tombstone === undefined ? null : textOf(tombstone.content['replacement_room']);

  const weaknesses: Weakness[] = [];
  /** A weakness that one state event mends, where the bot may send it. */
  const weak = (isRight: boolean, name: WeaknessName, detail: string, type?: string, content?: Record<string, unknown>): void => {
    if (isRight) return;
    const canMend = type !== undefined && content !== undefined && botLevel >= toSet(type);
    weaknesses.push({ name, detail, mends: canMend ? [{ kind: 'state', type, content }] : [] });
  };
  const joinRule = of('m.room.join_rules')?.content['join_rule'];
  weak(joinRule === 'invite', 'join-rule', 'it can be joined without an invitation', 'm.room.join_rules', { join_rule: 'invite' });
  const guests = of('m.room.guest_access')?.content['guest_access'] ?? 'forbidden';
  weak(guests === 'forbidden', 'guests', 'guests may join', 'm.room.guest_access', { guest_access: 'forbidden' });
  const history = of('m.room.history_visibility')?.content['history_visibility'] ?? 'shared';
  weak(
    openness(history) <= openness(expected.history),
    'history',
    'newcomers can read what was said before they joined',
    'm.room.history_visibility',
    { history_visibility: expected.history },
  );
  weak(expected.federated || create?.content['m.federate'] === false, 'federation', 'other homeservers can take part');
  weak(!expected.encrypted || of('m.room.encryption') !== undefined, 'encryption', 'it is not encrypted', 'm.room.encryption', {
    algorithm: 'm.megolm.v1.aes-sha2',
  });

  const needed = Math.min(...protectedTypes.map(toSet));
  const tooStrong = [...new Set([...Object.keys(levels.users), ...creators])].filter(
    (userId) => userId !== expected.botId && !expected.owners.has(userId) && levelOf(userId) >= needed,
  );
  const everybody = levels.users_default >= Math.min(needed, levels.invite, levels.kick);
  if (tooStrong.length > 0 || everybody) {
    const who = everybody ? 'everybody in it' : tooStrong.join(', ');
    // Who is as strong as the bot, or made the room, cannot be made weaker.
    const canMend = tooStrong.every((userId) => levelOf(userId) < botLevel) && botLevel >= toSet('m.room.power_levels');
    const content = weaker(of('m.room.power_levels')?.content ?? {}, tooStrong, levels);
    weaknesses.push({
      name: 'power',
      detail: `${who} can change who may speak, read or join`,
      mends: canMend ? [{ kind: 'state', type: 'm.room.power_levels', content }] : [],
    });
  }
  weak(hasPower, 'bot-power', `${expected.botId} may not remove messages there`);
  if (hasPower) weak(botLevel >= needed, 'bot-power', `${expected.botId} may not mend its settings`);
  if (strangers.length > 0) {
    const mends = strangers
      .filter(({ userId }) => botLevel >= levels.kick && levelOf(userId) < botLevel)
      .map(({ userId }): Mend => ({ kind: 'remove', userId }));
    const detail = `${strangers.map(({ userId }) => userId).join(', ')} can read it and ${strangers.length === 1 ? 'is' : 'are'} in no \`people:\``;
    weaknesses.push({ name: 'members', detail, mends: mends.length === strangers.length ? mends : [] });
  }
  weak(replacement === null, 'replaced', replacement ? `it was replaced by ${replacement}` : 'it was closed');
  return { weaknesses, strangers, hasPower, replacement };
}

/** Whether an account may be in the room: the bot, a person, or one that the configuration lets in. */
export function belongs(userId: string, expected: Expectation): boolean {
  return userId === expected.botId || expected.accounts.has(userId) || expected.others.some((glob) => matches(glob, userId));
}

function strangersOf(state: readonly StateEvent[], expected: Expectation): Inspection['strangers'] {
  return state.flatMap(({ type, state_key: userId, sender, content }) => {
    const { membership } = content;
    if (type !== 'm.room.member' || (membership !== 'join' && membership !== 'invite') || belongs(userId, expected)) return [];
    return [{ userId, membership, by: sender }];
  });
}

/** From version 12 on who made a room stands above all levels: https://spec.matrix.org/latest/rooms/v12/ */
function creatorsOf(create: StateEvent | undefined): Set<string> {
  const version = Number.parseInt(textOf(create?.content['room_version']), 10);
  if (create === undefined || !(version >= 12)) return new Set();
  const more = create.content['additional_creators'];
  return new Set([create.sender, ...(Array.isArray(more) ? more.filter((each) => typeof each === 'string') : [])]);
}

function levelsOf(content: Record<string, unknown>): Levels {
  const number = (key: string, fallback: number): number => (typeof content[key] === 'number' ? content[key] : fallback);
  const numbers = (key: string): Record<string, number> =>
    typeof content[key] === 'object' && content[key] !== null ? (content[key] as Record<string, number>) : {};
  return {
    users: numbers('users'),
    users_default: number('users_default', 0),
    events: numbers('events'),
    state_default: number('state_default', 50),
    invite: number('invite', 0),
    kick: number('kick', 50),
    redact: number('redact', 50),
  };
}

/** The same levels with nobody of `tooStrong` able to change what is protected; people keep 50. */
function weaker(content: Record<string, unknown>, tooStrong: readonly string[], levels: Levels): Record<string, unknown> {
  const users = Object.fromEntries(
    Object.entries(levels.users).map(([userId, level]) => [userId, tooStrong.includes(userId) ? Math.min(level, 50) : level]),
  );
  const events = Object.fromEntries(protectedTypes.map((type) => [type, Math.max(100, levels.events[type] ?? 0)]));
  return {
    ...content,
    users,
    users_default: Math.min(levels.users_default, 0),
    events: { ...levels.events, ...events },
    invite: Math.max(levels.invite, 50),
    kick: Math.max(levels.kick, 50),
  };
}

/** How much a newcomer may read, from least to most; what is not known is the most. */
function openness(history: unknown): number {
  const at = ['joined', 'invited', 'shared'].indexOf(textOf(history));
  return at === -1 ? Number.POSITIVE_INFINITY : at;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function matches(glob: string, text: string): boolean {
  const pattern = glob
    .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${pattern}$`, 'u').test(text);
}
