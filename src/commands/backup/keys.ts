import { z } from 'zod';
import { challengeLines } from '../../backup/recipients.ts';
import { code, fields, list, text, type Line, type Part } from '../../reply/parts.ts';
import { fingerprint } from '../../secrets/age.ts';
import { defineRead } from '../define.ts';
import { nameOf, recipientLine } from './recipients.ts';
import { changeWaits } from './shared.ts';
import { unlockParts } from './unlock.ts';

export const backupKeys = defineRead({
  name: 'backup keys',
  summary: 'Show who can open backups, the keys of each month, and what waits to be unlocked.',
  details: [
    'Each recipient shows once that its key is at hand: `age -d -i my.key` opens the challenge that is sealed to it, and prints what to type. Until one of those that a backup is sealed to has, the backup is not proven. A mounted key shows it by itself. A change of the recipients waits for `backup keys accept`.',
    'Each month backups are sealed to a fresh key, the epoch. Steward has its public half; the private one is stored sealed to the admins’ recipients (`epoch-….age` beside each backup), so that who has Steward cannot open its backups.',
  ],
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({
    mode: z.enum(['sealed', 'mounted']),
    recipients: z.array(
      z.object({
        recipient: z.string(),
        fingerprint: z.string(),
        name: z.string().describe('Whose it is, where that is known; else the fingerprint.'),
        accepted: z.boolean().describe('Whether backups are sealed to it.'),
        configured: z.boolean(),
        confirmed: z.string().nullable().describe('Since when it is shown that it opens them.'),
        challenge: z.string().nullable().describe('An age file for it, where that is not shown yet.'),
      }),
    ),
    epochs: z.array(z.object({ name: z.string(), recipient: z.string(), since: z.string(), sealedTo: z.array(z.string()) })),
    waiting: z.array(z.object({ job: z.string(), what: z.string(), epochs: z.array(z.string()), until: z.string() })),
  }),
  examples: ['backup keys'],

  async read(ctx) {
    const { backups, unlocks } = ctx;
    const { recipients } = backups.keys;
    const configured = await recipients.configured();
    return {
      mode: backups.keys.mode,
      recipients: await Promise.all(
        (await recipients.all()).map(async ({ recipient, isAccepted, confirmedAt }) => ({
          recipient,
          fingerprint: fingerprint(recipient),
          name: await nameOf(ctx, recipient),
          // The first of a configuration are taken as they are.
          accepted: isAccepted || (await recipients.change()) === null,
          configured: configured.includes(recipient),
          confirmed: confirmedAt === null ? null : new Date(confirmedAt).toISOString(),
          challenge: confirmedAt === null ? await recipients.challenge(recipient) : null,
        })),
      ),
      epochs: backups.keys.all().map(({ name, recipient, createdAt, recipients }) => ({
        name,
        recipient,
        since: new Date(createdAt).toISOString(),
        sealedTo: [...recipients],
      })),
      waiting: unlocks.open().map(({ jobId, what, epochs, until }) => ({
        job: jobId,
        what,
        epochs: epochs.map(({ name }) => name),
        until: new Date(until).toISOString(),
      })),
    };
  },

  reply: (result, _args, { unlocks }): Part[] => [
    text({ strong: 'Keys of backups' }),
    fields([
      'opened by',
      [result.mode === 'mounted' ? 'Steward, by the key that is mounted, and each admin' : 'each admin below; Steward cannot'],
    ]),
    ...(result.recipients.length === 0 ? [text('Nobody: ', { code: 'backup.keys.recipients' }, ' of the configuration is empty.')] : []),
    list(
      result.recipients.map(({ recipient, name, accepted, configured, confirmed }): Line => [
        ...recipientLine(recipient, name),
        confirmed === null ? ' ⚠️ has not shown yet to open them' : ', shown ',
        ...(confirmed === null ? [] : [{ time: Date.parse(confirmed) }]),
        accepted ? '' : '; ⚠️ waits to be accepted',
        configured ? '' : '; ⚠️ until its removal is accepted',
      ]),
    ),
    ...(result.recipients.some(({ accepted, configured }) => !accepted || !configured)
      ? [text('⚠️ ', changeWaits, { command: 'backup keys accept' }, ' changes that.')]
      : []),
    ...result.recipients.flatMap(({ name, configured, challenge }): Part[] =>
      challenge === null || !configured
        ? []
        : [
            text('Who has the key of ', { strong: name }, ' runs this where it is, and types here what it prints:'),
            code(challengeLines(challenge)),
          ],
    ),
    ...(result.epochs.length === 0
      ? [text('No epoch yet: ', { command: 'backup create' }, ' makes the first.')]
      : [
          list(
            result.epochs.map(({ name, since, sealedTo }): Line => [
              'epoch ',
              { strong: name },
              ', since ',
              { time: Date.parse(since) },
              `, sealed to ${sealedTo.map((recipient) => fingerprint(recipient)).join(' and ')}`,
            ]),
          ),
          ...sealedToOthersPart(result),
        ]),
    ...unlocks.open().flatMap(unlockParts),
  ],
});

function sealedToOthersPart({
  recipients,
  epochs,
}: {
  recipients: readonly { recipient: string; accepted: boolean }[];
  epochs: readonly { name: string; sealedTo: readonly string[] }[];
}): Part[] {
  const now = recipients.flatMap(({ recipient, accepted }) => (accepted ? [recipient] : []));
  const others = epochs.filter(({ sealedTo }) => String(sealedTo) !== String(now));
  if (others.length === 0) return [];
  return [
    text({ command: 'backup keys reseal' }, ` seals those of ${others.map(({ name }) => name).join(', ')} to who can open backups now.`),
  ];
}
