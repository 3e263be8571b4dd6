import { z } from 'zod';
import { channelNames, type Alert } from '../../alerts/channel.ts';
import { asFailure, Failure } from '../../failures/failure.ts';
import { lineNames } from '../../doctor/line.ts';
import { list, text, type Inline, type Line } from '../../reply/parts.ts';
import { hintLine } from '../../reply/reply.ts';
import { defineRead } from '../define.ts';

const marks = { ok: '🟢', warn: '🟠', fail: '🔴', skipped: '⚪' } as const;

export const serverDoctor = defineRead({
  name: 'server doctor',
  summary: 'Look at everything that Steward stands on, and say how to mend what is wrong.',
  details: [
    'Works with the homeserver down, and in the shell without a daemon (`steward doctor`), where it ends with 1 when a line fails.',
    'The daemon looks by itself every `doctor.every`; a line that turns to fail is an alert.',
  ],
  tier: 'read',
  lock: 'none',
  args: z.strictObject({
    sendTest: z.boolean().default(false).describe('Send a test message to each alert channel.').meta({ alias: 't' }),
    channel: z.enum(channelNames).optional().describe('Send a test message to this channel only.').meta({ value: 'NAME' }),
  }),
  result: z.object({
    healthy: z.boolean(),
    lines: z.array(
      z.object({
        name: z.enum(lineNames),
        state: z.enum(['ok', 'warn', 'fail', 'skipped']),
        detail: z.string(),
        fix: z.string().nullable(),
      }),
    ),
    tests: z.array(z.object({ channel: z.string(), taken: z.boolean(), problem: z.string().nullable() })),
  }),
  examples: ['server doctor'],

  async read(ctx, args) {
    const channels = ctx.channels();
    if (args.channel !== undefined && !channels.some(({ name }) => name === args.channel))
      throw new Failure('usage.invalid-value', {
        attempted: `send a test to ${args.channel}`,
        reason: `the configuration has no \`alerts.${args.channel}\``,
        hint: '`steward config sample` shows its keys.',
      });
    const tried = channels.filter(({ name }) => (args.channel === undefined ? args.sendTest : name === args.channel));
    const [lines, tests] = await Promise.all([
      ctx.doctor.look(),
      Promise.all(
        tried.map(async (channel) => {
          const problem = await channel.send(testAlert(ctx.ids.short(8), ctx.clock.now()), ctx.signal).then(
            () => null,
            (error: unknown) => asFailure(error).reason,
          );
          return { channel: channel.name, taken: problem === null, problem };
        }),
      ),
    ]);
    return { healthy: lines.every(({ state }) => state !== 'fail') && tests.every(({ taken }) => taken), lines, tests };
  },

  outcome: (result) => (result.healthy ? 'done' : 'failed'),

  reply: (result) => [
    text(result.healthy ? '🟢 ' : '🔴 ', { strong: result.healthy ? 'Steward is well.' : 'Something must be mended.' }),
    list(
      result.lines.map(({ name, state, detail, fix }): Line => {
        const mend: Inline[] = fix === null ? [] : [' → ', ...hintLine(fix)];
        return [`${marks[state]} `, { strong: name }, `: ${detail}`, ...mend];
      }),
    ),
    ...(result.tests.length === 0
      ? []
      : [
          list(
            result.tests.map(({ channel, taken, problem }): Line => [
              `${taken ? marks.ok : marks.fail} test message to `,
              { strong: channel },
              taken ? ': taken' : `: ${problem ?? ''}`,
            ]),
          ),
        ]),
  ],
});

function testAlert(id: string, at: number): Alert {
  return {
    id,
    alerts: [],
    severity: 'info',
    title: 'Test message',
    body: 'Steward can reach you here. Somebody asked for this message with `steward doctor`; nothing is wrong.',
    at,
  };
}
