import { z } from 'zod';
import type { UnlockRequest } from '../../backup/unlocks.ts';
import { Failure } from '../../failures/failure.ts';
import { code, text, type Part } from '../../reply/parts.ts';
import type { Reply } from '../../reply/reply.ts';
import type { Job } from '../../workflow/job.ts';
import type { CommandContext } from '../context.ts';
import { defineWrite } from '../define.ts';

export const backupUnlock = defineWrite({
  name: 'backup unlock',
  summary: 'Open the keys of a backup for one job that waits for them, by what `age` printed.',
  details: [
    'A job that opens a backup asks for its keys where Steward has none. The request shows the lines to run where your own key is: they open the sealed key of the backup, and seal it to Steward for this one job. Send what they print in a code block under the command, or as a file with the command as its caption.',
    'What was opened is in memory alone, and gone with the job.',
  ],
  tier: 'change',
  lock: 'none',
  bulk: false,
  block: 'answer',
  args: z.strictObject({
    job: z
      .string()
      .regex(/^[a-z0-9]{10}$/, 'the id of a job')
      .optional()
      .describe('The job that waits; the one that does when left out.')
      .meta({ positional: 0, value: 'JOB' }),
  }),
  secrets: { answer: { alias: 'a', lines: true, description: 'What `age -a` printed.' } },
  result: z.object({ job: z.string(), epochs: z.array(z.string()) }),
  examples: ['backup unlock', 'backup unlock k7m2xq9d4a'],

  plan(ctx, args) {
    const { jobId, what, epochs } = requestOf(ctx, args.job);
    if (!ctx.secrets.has('answer'))
      throw new Failure('usage.missing-value', {
        attempted: `unlock the job ${jobId}`,
        reason: 'what `age` printed is missing',
        hint: 'In a code block under the command, or as a file; `--answer-file FILE` in the shell. `!backup keys` shows the lines to run.',
      });
    const names = epochs.map(({ name }) => name);
    return Promise.resolve({
      targets: names.map((name) => ({ id: `epoch ${name} for ${jobId}` })),
      changes: [[`open ${names.join(', ')} for `, { code: what }, ' alone']],
      data: { job: jobId, epochs: names },
    });
  },

  async run({ secrets, unlocks }, data) {
    const answer = secrets.get('answer');
    if (answer === undefined) throw new TypeError('an unlock without an answer');
    await unlocks.answer(data.job, answer);
    return {};
  },

  readBack: ({ unlocks }, data) => Promise.resolve(unlocks.isAnswered(data.job) ? data : null),

  reply: ({ job, epochs }) => [text({ strong: 'Opened' }, ` ${epochs.join(', ')} for `, { code: job }, ' alone; it goes on.')],
});

/** @throws Failure `backup.nothing-to-unlock` */
function requestOf({ unlocks }: CommandContext, job: string | undefined): UnlockRequest {
  const attempted = job === undefined ? 'unlock a backup' : `unlock the job ${job}`;
  const open = unlocks.open().filter(({ jobId }) => job === undefined || jobId === job);
  const [first] = open;
  if (unlocks.asked === null)
    throw new Failure('backup.nothing-to-unlock', {
      attempted,
      reason: 'the daemon does not run, and what waited for keys waits for it',
      hint: 'It asks again when it starts. In the shell a key comes with the command that needs it: `--identity-file my.key`.',
    });
  if (first === undefined) throw new Failure('backup.nothing-to-unlock', { attempted });
  if (open.length > 1)
    throw new Failure('usage.missing-value', {
      attempted,
      reason: `${open.length} jobs wait for keys: ${open.map(({ jobId }) => jobId).join(', ')}`,
      hint: 'Name one of them.',
    });
  return first;
}

/** What an admin must do, in the room and in the shell that waits. */
export function unlockParts(request: UnlockRequest): Part[] {
  const { jobId, what, epochs, until } = request;
  return [
    text(
      '🔑 ',
      { code: what },
      ` waits for the ${epochs.length === 1 ? 'key' : 'keys'} of ${epochs.map(({ name }) => name).join(', ')}. Run this where your own key, `,
      { code: 'my.key' },
      ', is:',
    ),
    code(request.lines),
    text(
      'Send what it prints in a code block under ',
      { command: `backup unlock ${jobId}` },
      ', or as a file with that as its caption, until ',
      { time: until },
      '. It opens these keys for this job alone.',
    ),
  ];
}

/** The request for the room. @param owners who are asked where nobody typed the command */
export function unlockAsked(request: UnlockRequest, job: Job | null, owners: readonly string[]): { reply: Reply; parts: Part[] } {
  const parts = unlockParts(request);
  const mentions = job?.requester.kind === 'person' ? [job.requester.userId] : [...owners];
  return { reply: { command: 'backup unlock', outcome: 'waiting', jobId: request.jobId, parts, mentions }, parts };
}
