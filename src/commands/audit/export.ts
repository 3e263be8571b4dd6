import { z } from 'zod';
import { fields, text } from '../../reply/parts.ts';
import { durationArgument } from '../arguments.ts';
import { defineWrite } from '../define.ts';

export const auditExport = defineWrite({
  name: 'audit export',
  summary: 'Write the audit into a file that can be verified alone, with its SHA-256 beside it.',
  details: ['The file ends with the signed head. It lies in the folder `exports` of `data_dir` for 7 days.'],
  tier: 'confirmed',
  lock: 'none',
  bulk: false,
  args: z.strictObject({
    since: durationArgument.optional().describe('Records not older than this: 30d. Default: all.').meta({ value: 'TIME' }),
  }),
  result: z.object({ path: z.string(), records: z.number(), seq: z.number(), head: z.string() }),
  examples: ['audit export', 'audit export --since 30d -y'],

  plan: (_ctx, { since }) =>
    Promise.resolve({
      targets: [],
      changes: [[`write ${since === undefined ? 'all records' : 'the records of that time'} of the audit into a file on this machine`]],
      data: { since: since ?? null },
    }),
  run: async (ctx, { since }) => ({ exported: await ctx.audit.export(since === null ? null : ctx.clock.now() - since) }),
  readBack: async (ctx, _data, note) => {
    const exported = note['exported'] as { path: string } | undefined;
    return exported === undefined ? null : ctx.audit.readExport(exported.path);
  },

  reply: (result) => [
    text({ strong: 'Exported the audit.' }),
    fields(
      ['file', [{ code: result.path }]],
      ['records', [`${result.records}, up to ${result.seq}`]],
      ['head', [{ code: result.head }]],
      ['verify', [{ code: `steward audit verify ${result.path}` }]],
    ),
  ],
});
