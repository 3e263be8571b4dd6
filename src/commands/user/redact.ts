import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text } from '../../reply/parts.ts';
import { userReference } from '../arguments.ts';
import type { CommandContext } from '../context.ts';
import { defineWrite } from '../define.ts';
import { untilEnded } from '../until-ended.ts';
import { existingUser, nameOf } from './shared.ts';

interface RedactData {
  userId: string;
  rooms: string[];
  reason: string;
}

/** Messages that Synapse looks at in each room, newest first; by itself it stops at 1 000. */
const limit = 1_000_000;

const attemptedOn = (userId: string): string => `redact the messages of ${userId}`;

export const userRedact = defineWrite({
  name: 'user redact',
  summary: 'Redact every message of an account, in all rooms that it was ever in.',
  details: [
    'Synapse redacts messages and joins, not reactions, polls and state. It goes on in the background; the answer comes when it says that it has ended, also after a restart of Steward.',
    'Messages in the admin room stay. The account stays as it is: `user deactivate` takes it out of use.',
  ],
  tier: 'destructive',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    user: userReference.describe('The account.').meta({ positional: 0, alias: 'u', value: 'USER' }),
    reason: z.string().max(200).default('').describe('What clients show beside a redacted message.'),
  }),
  result: z.object({
    userId: z.string(),
    rooms: z.number().describe('In how many rooms.'),
    failed: z.number().describe('Messages that could not be redacted.'),
    problem: z.string().nullable().describe('Why the first of these could not.'),
  }),
  examples: ['user redact @bob:example.org --reason spam'],

  async plan(ctx, args) {
    const user = await existingUser(ctx, args.user, attemptedOn);
    if (user.name === ctx.config.homeserver?.userId) throw new Failure('guard.self', { attempted: attemptedOn(user.name) });
    const rooms = await roomsOf(ctx, user.name);
    if (rooms.length === 0) throw new Failure('user.no-rooms', { attempted: attemptedOn(user.name) });
    return {
      targets: [{ id: user.name, name: user.displayname }],
      changes: [['redact the messages of ', nameOf(user), ` in ${rooms.length} ${rooms.length === 1 ? 'room' : 'rooms'}`]],
      permanent: [['what the messages say, for everybody and for good']],
      data: { userId: user.name, rooms, reason: args.reason } satisfies RedactData,
    };
  },

  begin: (ctx, data: RedactData) => ctx.homeserver.redactUser(data.userId, data.rooms, data.reason, limit),

  async run(ctx, data, _jobId, redactId) {
    const attempted = attemptedOn(data.userId);
    const found = await untilEnded(ctx, () => ctx.homeserver.redactStatus(redactId));
    if (found === null)
      throw new Failure('homeserver.outcome-unknown', { attempted, reason: `Synapse knows no redaction ${redactId} any more` });
    if (found.status === 'complete') return { failed: found.failed_redactions };
    throw new Failure('homeserver.not-done', {
      attempted,
      reason: `Synapse says ${found.status}${found.error === null ? '' : `: ${found.error.slice(0, 200)}`}; some messages may be redacted`,
    });
  },

  readBack(_ctx, data, { failed }) {
    // A crash before Synapse's answer was kept: nothing tells whether it has begun.
    if (failed === undefined)
      return Promise.reject(
        new Failure('homeserver.outcome-unknown', {
          attempted: attemptedOn(data.userId),
          reason: 'whether Synapse has begun is not known',
          hint: 'Run it again: what is redacted stays so.',
        }),
      );
    const problems = Object.values(failed as Record<string, string>);
    return Promise.resolve({ userId: data.userId, rooms: data.rooms.length, failed: problems.length, problem: problems[0] ?? null });
  },

  reply: ({ userId, rooms, failed, problem }) => [
    text('Redacted the messages of ', { id: userId }, ` in ${rooms} ${rooms === 1 ? 'room' : 'rooms'}.`),
    ...(failed === 0 ? [] : [text(`⚠️ ${failed} could not be redacted, the first because: ${problem ?? ''}`)]),
  ],
});

/** Where it may have said something: every room but the admin room that it is or was in. */
async function roomsOf(ctx: CommandContext, userId: string): Promise<string[]> {
  const all = await ctx.homeserver.memberships(userId).catch(async (error: unknown) => {
    if (!(error instanceof Failure) || error.id !== 'homeserver.no-endpoint') throw error;
    return Object.fromEntries((await ctx.homeserver.joinedRooms(userId)).map((roomId) => [roomId, 'join']));
  });
  const outside = ['invite', 'knock'];
  return Object.keys(all)
    .filter((roomId) => !outside.includes(all[roomId] ?? '') && roomId !== ctx.adminRoomId)
    .sort();
}
