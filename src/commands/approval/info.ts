import { z } from 'zod';
import { fields, list, text, type Line } from '../../reply/parts.ts';
import { defineRead } from '../define.ts';
import { planParts } from '../prompt.ts';
import { requestArgument, targetsOf } from './shared.ts';

export const approvalInfo = defineRead({
  name: 'approval info',
  summary: 'Show one request: what it would change, who asked, who said what, and who may still approve it.',
  tier: 'read',
  lock: 'none',
  anyOperator: true,
  args: z.strictObject({ request: requestArgument('Code or id, as the prompt says it.') }),
  result: z.object({
    jobId: z.string(),
    command: z.string(),
    tier: z.string(),
    state: z.string(),
    planHash: z.string(),
    requester: z.string().nullable(),
    targets: z.array(z.object({ id: z.string(), name: z.string().nullable() })),
    approvers: z.array(z.string()),
    decisions: z.array(z.object({ person: z.string(), userId: z.string(), verdict: z.string(), at: z.iso.datetime() })),
    until: z.iso.datetime().nullable(),
  }),
  examples: ['approval info 7F3A-91'],

  read: (ctx, args) => {
    const { job } = ctx.approvals.find(args.request, ctx.requester.kind === 'person' ? ctx.requester.person : 'shell');
    const approval = ctx.approvals.get(job.id);
    return Promise.resolve({
      jobId: job.id,
      command: job.command,
      tier: job.tier,
      state: job.state,
      planHash: job.planHash,
      requester: job.requester.kind === 'person' ? job.requester.person : null,
      targets: targetsOf(job),
      approvers: approval === null ? [] : ctx.approvals.approversOf(job, approval),
      decisions: ctx.approvals
        .decisions(job.id)
        .map(({ person, userId, verdict, at }) => ({ person, userId, verdict, at: new Date(at).toISOString() })),
      until: job.expiresAt === null ? null : new Date(job.expiresAt).toISOString(),
    });
  },

  reply: (result, _args, ctx) => {
    const { job } = ctx.approvals.find(result.jobId, 'shell');
    const said = result.decisions.map(({ person, userId, verdict, at }): Line => [
      `${verdict === 'approve' ? 'approved' : 'refused'} by `,
      { strong: person },
      ' (',
      { id: userId },
      '), ',
      { time: Date.parse(at) },
    ]);
    return [
      text({ strong: result.command }, ` ${result.jobId}: ${result.state}`),
      ...planParts(job.plan),
      fields(
        ['asked by', [result.requester ?? 'the shell']],
        ['until', result.until === null ? undefined : [{ time: Date.parse(result.until) }]],
        ['may approve', [result.approvers.join(', ') || 'nobody']],
        ['plan', [{ code: result.planHash.slice(0, 16) }]],
      ),
      ...(said.length === 0 ? [] : [list(said)]),
    ];
  },
});
