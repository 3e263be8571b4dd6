import { z } from 'zod';
import type { Fault } from '../../audit/log.ts';
import { Failure } from '../../failures/failure.ts';
import { fields, text } from '../../reply/parts.ts';
import { defineRead } from '../define.ts';

/** What is wrong with a record, as the end of a sentence. */
const faults: Record<Fault, string> = { changed: 'was changed', unlinked: 'does not follow the one before it', missing: 'is missing' };

export const auditVerify = defineRead({
  name: 'audit verify',
  summary: 'Check that no record of the audit was changed, removed or moved.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({ records: z.number(), head: z.string() }),
  examples: ['audit verify'],

  async read(ctx) {
    const { records, head, broken } = await ctx.audit.verify();
    if (broken !== null)
      throw new Failure('audit.broken', { attempted: 'verify the audit', reason: `record ${broken.seq} ${faults[broken.fault]}` });
    return { records, head };
  },

  reply: (result) => [
    text({ strong: 'The audit is whole.' }),
    fields(['records', [String(result.records)]], ['head', [{ code: result.head }]]),
  ],
});
