import { z } from 'zod';
import { list, text, type Line } from '../../reply/parts.ts';
import { giversOf } from '../../workflow/standing.ts';
import { defineList } from '../define.ts';
import { targetsOf } from './shared.ts';

const row = z.object({
  jobId: z.string(),
  command: z.string(),
  tier: z.string(),
  /** Of the job; `standing` for an approval of the runs of a schedule, whose approvers are those who gave it. */
  state: z.string(),
  requester: z.string().nullable(),
  targets: z.array(z.string()),
  approvers: z.array(z.string()),
  until: z.iso.datetime(),
});

export const approvalList = defineList({
  name: 'approval list',
  summary: 'List what waits for an approval, what counts down, and the standing approvals of schedules.',
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
    const standing = ctx.standing.all().map(({ standing: { jobId, until, ...given }, schedule }) => ({
      ...{ jobId, command: schedule.command, tier: schedule.tier, state: 'standing', targets: [schedule.name] },
      requester: schedule.requester.kind === 'person' ? schedule.requester.person : null,
      approvers: giversOf(given),
      until: new Date(until).toISOString(),
    }));
    const all = [...rows, ...standing];
    yield await Promise.resolve({ rows: all, total: all.length, next: null });
  },

  reply: ({ rows }) => {
    const [waiting, standing] = [rows.filter(({ state }) => state !== 'standing'), rows.filter(({ state }) => state === 'standing')];
    const shown = waiting
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
      ...(shown.length === 0 ? [text('Nothing waits for an approval.')] : [list(shown)]),
      ...(waiting.length > shown.length
        ? [text(`and ${waiting.length - shown.length} more; `, { command: 'approval list --csv' }, ' has all.')]
        : []),
      ...(standing.length === 0
        ? []
        : [text({ strong: 'Standing,' }, ' for the runs of schedules; ', { command: 'veto ID' }, ' takes one back:')]),
      ...(standing.length === 0 ? [] : [list(standing.slice(0, 20).map(standingLine))]),
    ];
  },
});

function standingLine({ jobId, command, targets, approvers, requester, until }: z.output<typeof row>): Line {
  return [
    { code: jobId },
    ' ',
    { strong: targets.join(', ') },
    ` ${command} · by ${requester ?? 'the shell'}, approved by ${approvers.join(' and ')} · until `,
    { time: Date.parse(until) },
  ];
}
