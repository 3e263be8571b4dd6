import { z } from 'zod';
import { faultWords } from '../../audit/check.ts';
import { Failure } from '../../failures/failure.ts';
import { fields, text } from '../../reply/parts.ts';
import { defineRead } from '../define.ts';

export const auditVerify = defineRead({
  name: 'audit verify',
  summary: 'Check that no record of the audit was changed, removed or moved, in the store and in the files.',
  details: [
    'What an earlier verification has signed is not read again; `--all` reads from the first record.',
    'In the shell `steward audit verify FILE` checks an exported file alone, without a configuration or store; `--head HASH` finds one that was cut at its end.',
  ],
  tier: 'read',
  lock: 'none',
  args: z.strictObject({ all: z.boolean().default(false).describe('From the first record on.') }),
  result: z.object({
    records: z.number(),
    after: z.number(),
    seq: z.number(),
    head: z.string().nullable(),
    key: z.string().nullable(),
    signature: z.string().nullable(),
  }),
  examples: ['audit verify', 'audit verify --all'],

  async read(ctx, args) {
    const { records, after, head, broken } = await ctx.audit.verify(args.all);
    if (broken !== null)
      throw new Failure('audit.broken', {
        attempted: 'verify the audit',
        reason: `${broken.where}: record ${broken.seq} ${faultWords[broken.fault]}`,
      });
    return { records, after, seq: head?.seq ?? 0, head: head?.hash ?? null, key: head?.key ?? null, signature: head?.signature ?? null };
  },

  reply: (result) => [
    text({ strong: 'The audit is whole.' }),
    fields(
      ['read', [`${result.records} records${result.after === 0 ? '' : `, after the ${result.after} that were verified before`}`]],
      ['newest', [`record ${result.seq}`]],
      ['head', result.head === null ? undefined : [{ code: result.head }]],
      ['signed by', result.key === null ? undefined : [{ code: result.key }]],
    ),
  ],
});
