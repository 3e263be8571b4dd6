import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text, type Line, type Part } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { nameOf, recipientLine } from './recipients.ts';
import { sheetsPart, sheetsShape, type Sheet } from './sheets.ts';
import { assertOpenable, identitySecret, unlockerOf } from './unlocker.ts';

const attempted = 'seal the keys of earlier months anew';

export const backupKeysReseal = defineWrite({
  name: 'backup keys reseal',
  summary: 'Seal the keys of earlier months to those who can open backups now.',
  details: [
    'After `backup keys accept`, where no key was at hand. Who can open them is asked, as for any backup; without an answer within an hour they stay sealed to whom they are, and the same line asks again.',
    'Those in the store and beside the rescue sheet are sealed anew. What lies in the folder of each backup stays as it is: it is part of what is signed.',
    'One person opens all that are asked for. Where nobody can, name one epoch: `backup keys` shows to whom each is sealed.',
  ],
  tier: 'confirmed',
  lock: 'backup',
  bulk: false,
  again: true,
  args: z.strictObject({
    epoch: z
      .string()
      .regex(/^\d{4}-\d{2}(-\d+)?$/, 'the name of an epoch, such as 2026-11')
      .optional()
      .describe('The only epoch; all that are sealed to others when left out.')
      .meta({ positional: 0, value: 'EPOCH' }),
  }),
  secrets: { identity: identitySecret },
  result: z.object({
    epochs: z.array(z.string()),
    recipients: z.array(z.string()).describe('Whom they are sealed to now.'),
    sheets: sheetsShape,
  }),
  examples: ['backup keys reseal', 'backup keys reseal 2026-11'],

  async plan(ctx, args) {
    const { keys } = ctx.backups;
    const epochs = (await keys.sealedToOthers()).flatMap(({ name }) => (args.epoch === undefined || name === args.epoch ? [name] : []));
    if (epochs.length === 0)
      throw new Failure('backup.nothing-to-reseal', {
        attempted,
        ...(args.epoch === undefined || keys.all().some(({ name }) => name === args.epoch)
          ? {}
          : { reason: `there is no epoch ${args.epoch}` }),
      });
    assertOpenable(ctx, attempted);
    const recipients = await keys.recipients.accepted();
    return {
      targets: epochs.map((name) => ({ id: `epoch ${name}` })),
      changes: await Promise.all(
        recipients.map(async (recipient): Promise<Line> => [
          `the keys of ${epochs.join(', ')} can be opened by `,
          ...recipientLine(recipient, await nameOf(ctx, recipient)),
        ]),
      ),
      permanent: [['nobody else can open them then, in the store and beside the rescue sheet']],
      data: { epochs },
    };
  },

  async run(ctx, { epochs }, jobId) {
    const { keys } = ctx.backups;
    const chosen = keys.all().filter(({ name }) => epochs.includes(name));
    await keys.resealOpened(await unlockerOf(ctx, jobId, 'backup keys reseal')(chosen));
    return { sheets: await ctx.backups.renewRescueSheets(ctx.stack) };
  },

  async readBack({ backups: { keys } }, { epochs }, note) {
    const others = await keys.sealedToOthers();
    if (others.some(({ name }) => epochs.includes(name))) return null;
    return { epochs, recipients: await keys.recipients.accepted(), sheets: (note['sheets'] as Sheet[] | undefined) ?? [] };
  },

  reply: ({ epochs, sheets }): Part[] => [
    text(
      { strong: 'Sealed anew' },
      `: who can open backups now opens those of ${epochs.join(', ')} too, by the keys in the store and beside the rescue sheet.`,
    ),
    ...sheetsPart(sheets),
  ],
});
