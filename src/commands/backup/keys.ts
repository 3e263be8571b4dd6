import { z } from 'zod';
import { fields, list, text, type Line, type Part } from '../../reply/parts.ts';
import { fingerprint } from '../../secrets/age.ts';
import { defineRead } from '../define.ts';
import { unlockParts } from './unlock.ts';

export const backupKeys = defineRead({
  name: 'backup keys',
  summary: 'Show who can open backups, the keys of each month, and what waits to be unlocked.',
  details: [
    'Each month backups are sealed to a fresh key, the epoch. Steward has its public half; the private one is stored sealed to the admins’ recipients (`epoch-….age` beside each backup), so that who has Steward cannot open its backups.',
  ],
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({
    mode: z.enum(['sealed', 'mounted']),
    epochs: z.array(z.object({ name: z.string(), recipient: z.string(), since: z.string(), sealedTo: z.array(z.string()) })),
    waiting: z.array(z.object({ job: z.string(), what: z.string(), epochs: z.array(z.string()), until: z.string() })),
  }),
  examples: ['backup keys'],

  read({ backups, unlocks }) {
    return Promise.resolve({
      mode: backups.keys.mode,
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
    });
  },

  reply: (result, _args, { unlocks }): Part[] => [
    text({ strong: 'Keys of backups' }),
    fields([
      'opened by',
      [result.mode === 'mounted' ? 'Steward, by the key that is mounted, and each admin' : 'each admin below; Steward cannot'],
    ]),
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
        ]),
    ...unlocks.open().flatMap(unlockParts),
  ],
});
