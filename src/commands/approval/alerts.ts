import type { Raised } from '../../alerts/alerts.ts';
import type { Job } from '../../workflow/job.ts';

/** What is told off the server of a request that no second person approved. */

/** In mode `single`: the person who asked approved a catastrophic command, which counts down now. */
export function approvedAlone(job: Job): Raised {
  return { id: 'approval.alone', subject: job.id, detail: whoAndWhat(job), next: `\`!veto ${job.id}\` stops it while it counts down.` };
}

/** The shell ran something by `--break-glass`. */
export function brokenGlass(job: Job, reason: string): Raised {
  return { id: 'approval.break-glass', subject: job.id, detail: `${whoAndWhat(job)}; the reason given: ${reason}` };
}

function whoAndWhat(job: Job): string {
  const targets = job.plan.items.flatMap((item) => item.targets.map(({ id }) => id));
  const shown = targets.slice(0, 10).join(', ') + (targets.length > 10 ? ` and ${targets.length - 10} more` : '');
  return `${job.requester.kind === 'person' ? job.requester.person : 'the shell'} runs ${job.command} on ${shown} (job ${job.id})`;
}
