import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text } from '../../reply/parts.ts';
import { fingerprint } from '../../secrets/age.ts';
import { defineWrite } from '../define.ts';
import { nameOf } from './recipients.ts';

export const backupKeysConfirm = defineWrite({
  name: 'backup keys confirm',
  summary: 'Show that a key opens backups, by the code that `age` finds in its challenge.',
  details: [
    '`backup keys` shows a challenge for each recipient of the configuration that has not shown it yet. Until one of those that a backup is sealed to has, the backup is not proven: nobody may have its key.',
  ],
  tier: 'change',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    code: z
      .string()
      .regex(/^[0-9a-f]{4}(-[0-9a-f]{4}){3}$/iu, 'a code such as 1A2B-3C4D-5E6F-7A8B')
      .describe('What `age -d -i my.key` printed.')
      .meta({ positional: 0, value: 'CODE' }),
  }),
  result: z.object({ recipient: z.string(), fingerprint: z.string(), name: z.string() }),
  examples: ['backup keys confirm 1A2B-3C4D-5E6F-7A8B'],

  async plan(ctx, { code }) {
    const recipient = await ctx.backups.keys.recipients.ofCode(code);
    if (recipient === null) throw new Failure('backup.wrong-code', { attempted: 'confirm a key' });
    const name = await nameOf(ctx, recipient);
    return {
      targets: [{ id: recipient, name }],
      changes: [['backups that are sealed to ', { strong: name }, ' can be opened: they count as proven']],
      data: { recipient, name },
    };
  },

  run({ backups }, { recipient }) {
    backups.keys.recipients.confirm(recipient);
    return Promise.resolve({});
  },

  readBack({ backups }, { recipient, name }) {
    if (!backups.keys.recipients.confirmed().has(recipient)) return Promise.resolve(null);
    return Promise.resolve({ recipient, fingerprint: fingerprint(recipient), name });
  },

  reply: ({ recipient, name }) => [
    text('Backups that are sealed to ', { strong: name }, ', ', { code: recipient }, ', can be opened: that is shown.'),
  ],
});
