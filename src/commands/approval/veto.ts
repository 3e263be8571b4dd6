import { z } from 'zod';
import { defineRead } from '../define.ts';
import { decide, decisionParts, decisionResult, requestArgument } from './shared.ts';

export const approvalVeto = defineRead({
  name: 'approval veto',
  summary: 'Refuse what somebody asked for, also during its countdown.',
  details: [
    'Any operator may. What runs already is not stopped by it. With the id of a request that has approved the runs of a schedule beforehand, it takes that back.',
  ],
  tier: 'read',
  lock: 'none',
  anyOperator: true,
  short: ['veto'],
  args: z.strictObject({ request: requestArgument('Code or id, as the prompt says it.') }),
  result: decisionResult,
  examples: ['veto 7F3A-91', 'approval veto 7F3A-91'],
  read: (ctx, args) => Promise.resolve(decide(ctx, args.request, 'veto')),
  reply: (result) => decisionParts(result),
});
