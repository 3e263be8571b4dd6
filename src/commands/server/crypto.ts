import { z } from 'zod';
import { asFailure, Failure } from '../../failures/failure.ts';
import { fields, list, text, type Line } from '../../reply/parts.ts';
import type { CommandContext } from '../context.ts';
import { defineRead, defineWrite } from '../define.ts';
import { identityStanding } from '../identity-gate.ts';

const recoveryStates = ['in place', 'missing', 'of another identity', 'unreadable'] as const;
const standings = ['pinned', 'unknown', 'changed'] as const;

export const serverCrypto = defineRead({
  name: 'server crypto',
  summary: "Show Steward's device and identity, and whose cross-signing identity is known.",
  details: [
    'Compare the fingerprint with what your client shows for this session, once, and verify it there.',
    'A person whose identity has changed can neither change anything nor approve, until another person has confirmed it.',
  ],
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({
    accept: z.string(),
    problem: z.string().nullable(),
    device: z.string().nullable(),
    fingerprint: z.string().nullable(),
    signed: z.boolean().nullable(),
    identity: z.string().nullable(),
    sessions: z.number().nullable(),
    bytes: z.number().nullable(),
    identity_keys: z.boolean().nullable(),
    recovery: z.object({ state: z.enum(recoveryStates), name: z.string() }).nullable(),
    people: z.array(z.object({ person: z.string(), standing: z.enum(standings) })),
  }),
  examples: ['server crypto'],

  async read(ctx) {
    const { people, encryption } = ctx.config;
    let problem: string | null = null;
    const device = await ctx.device().catch((error: unknown) => {
      problem = asFailure(error).message;
      return null;
    });
    return {
      accept: encryption.accept,
      problem,
      device: device?.deviceId ?? null,
      fingerprint: device?.fingerprint ?? null,
      signed: device?.signed ?? null,
      identity: device?.identity ?? null,
      sessions: device?.sessions ?? null,
      bytes: device?.bytes ?? null,
      identity_keys: device?.hasIdentityKeys ?? null,
      recovery: device?.recovery ?? null,
      people: Object.keys(people).map((person) => ({ person, standing: identityStanding(ctx.identities, ctx.config, person) })),
    };
  },

  reply: (result) => [
    ...(result.device === null
      ? [text(result.problem === null ? 'No room is encrypted here, or no daemon runs.' : 'The device cannot be used.')]
      : []),
    fields(
      ['problem', result.problem === null ? undefined : [result.problem]],
      ['device', result.device === null ? undefined : [{ id: result.device }]],
      ['fingerprint', result.fingerprint === null ? undefined : [{ code: grouped(result.fingerprint) }]],
      ['signed', result.signed === null ? undefined : [result.signed ? 'yes, by the identity below' : '⚠️ no']],
      ['identity', result.identity === null ? undefined : [{ code: grouped(result.identity) }]],
      ['sessions', result.sessions === null ? undefined : [`${result.sessions}, ${Math.ceil((result.bytes ?? 0) / 1000)} kB`]],
      ['identity keys', result.identity_keys === null ? undefined : [result.identity_keys ? 'in the store' : '⚠️ not in the store']],
      ['recovery', result.recovery === null ? undefined : recoveryWords(result.recovery)],
      ['commands from', [result.accept === 'cross-signed' ? 'cross-signed devices' : `⚠️ ${result.accept}`]],
    ),
    list(result.people.map(({ person, standing }): Line => [{ strong: person }, `: ${standingWords[standing]}`])),
  ],
});

function recoveryWords({ state, name }: { state: string; name: string }): Line {
  return [{ code: name }, ` is ${state === 'in place' ? '' : '⚠️ '}${state}`];
}

const standingWords: Readonly<Record<(typeof standings)[number], string>> = {
  pinned: 'cross-signing identity known',
  unknown: 'no cross-signing identity seen yet',
  changed: '⚠️ another identity than the known one, not confirmed',
};

/** An identity that takes the place of the known one. */
interface NewIdentity {
  person: string;
  accounts: { userId: string; identity: string }[];
}

export const serverCryptoConfirm = defineWrite({
  name: 'server crypto confirm',
  summary: 'Confirm the new cross-signing identity of a person, after asking them by another way than this room.',
  details: ['Whoever holds an account can give it a new identity. Nobody confirms their own.'],
  tier: 'catastrophic',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    person: z.string().min(1).describe('Name in `people:`.').meta({ positional: 0, value: 'PERSON' }),
  }),
  result: z.object({ person: z.string(), identities: z.array(z.string()) }),
  examples: ['server crypto confirm bob'],

  plan: (ctx, { person }) => {
    const data = newIdentity(ctx, person);
    return Promise.resolve({
      targets: [{ id: person }],
      changes: data.accounts.map(({ userId, identity }): Line => [
        'take ',
        { code: grouped(identity) },
        ' as the identity of ',
        { id: userId },
      ]),
      data,
    });
  },
  run: (ctx, data) => {
    for (const { userId, identity } of data.accounts) ctx.identities.pin(userId, identity, ctx.clock.now());
    return Promise.resolve({});
  },
  readBack: (ctx, data) =>
    Promise.resolve(
      data.accounts.every(({ userId, identity }) => ctx.identities.get(userId)?.identity === identity)
        ? { person: data.person, identities: data.accounts.map(({ identity }) => identity) }
        : null,
    ),
  reply: ({ person }) => [text('The new identity of ', { strong: person }, ' is confirmed.')],
});

/** @throws Failure where there is nothing to confirm, or the wrong one asks */
function newIdentity(ctx: CommandContext, person: string): NewIdentity {
  const attempted = `confirm the identity of ${person}`;
  const userIds = ctx.config.people[person]?.userIds;
  if (userIds === undefined) throw new Failure('access.no-person', { attempted });
  if (ctx.requester.kind === 'person' && ctx.requester.person === person) throw new Failure('guard.requester', { attempted });
  const accounts = userIds.flatMap((userId) => {
    const seen = ctx.identities.get(userId)?.seen ?? null;
    return seen === null ? [] : [{ userId, identity: seen }];
  });
  if (accounts.length === 0) throw new Failure('access.identity-unchanged', { attempted });
  return { person, accounts };
}

/** As clients show keys: in groups of four. */
function grouped(key: string): string {
  return key.match(/.{1,4}/gu)?.join(' ') ?? key;
}
