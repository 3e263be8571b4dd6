import { z } from 'zod';
import { defineRead } from '../define.ts';
import { decide, decisionParts, decisionResult, requestArgument } from './shared.ts';

export const approvalApprove = defineRead({
  name: 'approval approve',
  summary: 'Approve what somebody asked for, by its code or id; or type the target of what you asked for.',
  details: [
    'Destructive requests take ✅ on their prompt or this with their id; catastrophic ones only their code. Taking the message back (redacting it) before the run takes the approval back.',
  ],
  tier: 'read',
  lock: 'none',
  anyOperator: true,
  short: ['approve'],
  args: z.strictObject({ request: requestArgument('Code, target or id, as the prompt says it.') }),
  result: decisionResult,
  examples: ['approve 7F3A-91', 'approval approve 7F3A-91'],
  read: (ctx, args) => Promise.resolve(decide(ctx, args.request, 'approve')),
  reply: (result) => decisionParts(result),
});
