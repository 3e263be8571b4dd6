import { z } from 'zod';
import { list, text, type Line } from '../../reply/parts.ts';
import { defineList } from '../define.ts';
import { targetsOf } from './shared.ts';

const row = z.object({
  jobId: z.string(),
  command: z.string(),
  tier: z.string(),
  state: z.string(),
  requester: z.string().nullable(),
  targets: z.array(z.string()),
  approvers: z.array(z.string()),
  until: z.iso.datetime(),
});

export const approvalList = defineList({
  name: 'approval list',
  summary: 'List what waits for an approval, and what counts down.',
  tier: 'read',
  lock: 'none',
  anyOperator: true,
  args: z.strictObject({}),
  result: row,
  examples: ['approval list'],

  async *list(ctx) {
    const rows = ctx.approvals.open().map((job) => {
      const approval = ctx.approvals.get(job.id);
      return {
        jobId: job.id,
        command: job.command,
        tier: job.tier,
        state: job.state,
        requester: job.requester.kind === 'person' ? job.requester.person : null,
        targets: targetsOf(job).map(({ id }) => id),
        approvers: approval === null ? [] : ctx.approvals.approversOf(job, approval),
        until: new Date(job.expiresAt ?? job.createdAt).toISOString(),
      };
    });
    yield await Promise.resolve({ rows, total: rows.length, next: null });
  },

  reply: ({ rows }) => {
    if (rows.length === 0) return [text('Nothing waits for an approval.')];
    const shown = rows
      .slice(0, 20)
      .map((each): Line => [
        { code: each.jobId },
        ' ',
        { strong: each.command },
        ` ${each.targets.slice(0, 3).join(', ')}${each.targets.length > 3 ? ` and ${each.targets.length - 3} more` : ''}`,
        ` · ${each.tier} · by ${each.requester ?? 'the shell'} · until `,
        { time: Date.parse(each.until) },
      ]);
    return [
      list(shown),
      ...(rows.length > shown.length
        ? [text(`and ${rows.length - shown.length} more; `, { command: 'approval list --csv' }, ' has all.')]
        : []),
    ];
  },
});
