import { z } from 'zod';
import type { AuditRecord } from '../../audit/record.ts';
import type { AuditFilter, AuditRow } from '../../store/audit-rows.ts';
import { table, text, type Line } from '../../reply/parts.ts';
import { countArgument, durationArgument } from '../arguments.ts';
import type { CommandContext } from '../context.ts';
import { defineList } from '../define.ts';

const row = z.object({
  seq: z.number(),
  at: z.string(),
  event: z.string(),
  actor: z.string(),
  userId: z.string().nullable(),
  deviceId: z.string().nullable(),
  trust: z.string().nullable(),
  command: z.string().nullable(),
  tier: z.string().nullable(),
  jobId: z.string().nullable(),
  planHash: z.string().nullable(),
  targets: z.array(z.string()),
  eventId: z.string().nullable(),
  failure: z.string().nullable(),
  durationMs: z.number().nullable(),
  detail: z.string().nullable(),
  version: z.string(),
  hash: z.string(),
});
type Row = z.input<typeof row>;

const args = z.strictObject({
  person: z.string().min(1, 'not empty').optional().describe('Records of this person.').meta({ value: 'PERSON' }),
  job: z.string().min(1, 'not empty').optional().describe('Records of this job.').meta({ value: 'JOB' }),
  event: z
    .string()
    .regex(/^[a-z]+(\.[a-z-]+)?$/, 'an event such as job.done, or a family such as job')
    .optional()
    .describe('Records of this event, or family of events.')
    .meta({ value: 'EVENT' }),
  since: durationArgument.optional().describe('Not older than this: 7d.').meta({ value: 'TIME' }),
  limit: countArgument(1, 1000).prefault('20').describe('Rows on a page.').meta({ value: 'N' }),
  before: countArgument(1, 999_999_999).optional().describe('Records with a lower number than this.').meta({ value: 'SEQ' }),
});
type Args = z.output<typeof args>;

/** Records that are read at once for a file. */
const largePage = 1000;

export const auditList = defineList({
  name: 'audit list',
  summary: 'Show who did what, newest first; with --csv or --json all of it, in a file.',
  tier: 'read',
  lock: 'none',
  args,
  result: row,
  examples: ['audit list', 'audit list --person alice --since 7d', 'audit list --event job --csv'],

  async *list(ctx, given, all) {
    let before = given.before ?? Number.MAX_SAFE_INTEGER;
    for (;;) {
      const records = await page(ctx, given, before, all ? largePage : given.limit);
      const last = records.at(-1)?.seq;
      const next = last === undefined || records.length < (all ? largePage : given.limit) ? null : last;
      yield { rows: records.map(rowOf), next: next === null ? null : String(next) };
      if (!all || next === null) return;
      before = next;
    }
  },

  reply: (result, given) => {
    if (result.rows.length === 0) return [text('No such records.')];
    return [
      table(
        [{ title: 'No.' }, { title: 'When' }, { title: 'What' }],
        result.rows.map((record): Line[] => [
          [String(record.seq)],
          [{ time: Date.parse(record.at) }],
          [{ strong: record.event }, ' by ', record.actor, ...about(record)],
        ]),
      ),
      ...(result.next == null ? [] : [text('More with ', { command: nextPage(given, result.next) }, '.')]),
    ];
  },
});

function page(ctx: CommandContext, given: Args, before: number, limit: number): Promise<AuditRow[]> {
  const filter: AuditFilter = {
    person: given.person,
    jobId: given.job,
    event: given.event,
    since: given.since === undefined ? undefined : ctx.clock.now() - given.since,
  };
  return Promise.resolve(ctx.audit.newest(filter, before, limit));
}

function rowOf({ seq, hash, record }: AuditRow): Row {
  const read = JSON.parse(record) as AuditRecord;
  const { actor } = read;
  const trust = actor['trust'] as { kind: string; device_id?: string } | undefined;
  const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
  return {
    seq,
    at: read.at,
    event: read.event,
    actor: text(actor['person']) ?? text(actor['user_id']) ?? String(actor['kind']),
    userId: text(actor['user_id']),
    deviceId: trust?.device_id ?? null,
    trust: trust?.kind ?? null,
    command: read.command ?? null,
    tier: read.tier ?? null,
    jobId: read.job_id ?? null,
    planHash: read.plan_hash ?? null,
    targets: [...(read.targets ?? [])],
    eventId: read.event_id ?? null,
    failure: read.failure ?? null,
    durationMs: read.duration_ms ?? null,
    detail: read.detail === undefined ? null : JSON.stringify(read.detail),
    version: read.version,
    hash,
  };
}

function about(record: Row): Line {
  const target = record.targets[0];
  const rest = record.targets.length > 1 ? ` and ${record.targets.length - 1} more` : '';
  return [
    ...(record.command === null ? [] : [`: ${record.command}`]),
    ...(target === undefined ? [] : [' ', { id: target }, rest]),
    ...(record.failure === null ? [] : [` (${record.failure})`]),
    ...(record.jobId === null ? [] : [', job ', { code: record.jobId }]),
  ];
}

function nextPage(given: Args, next: string): string {
  return [
    'audit list',
    ...(given.person === undefined ? [] : [`--person=${given.person}`]),
    ...(given.job === undefined ? [] : [`--job=${given.job}`]),
    ...(given.event === undefined ? [] : [`--event=${given.event}`]),
    ...(given.since === undefined ? [] : [`--since=${Math.round(given.since / 3_600_000)}h`]),
    ...(given.limit === 20 ? [] : [`--limit=${given.limit}`]),
    `--before=${next}`,
  ].join(' ');
}
