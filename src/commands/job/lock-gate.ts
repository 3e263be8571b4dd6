import { Failure } from '../../failures/failure.ts';
import type { Job } from '../../workflow/job.ts';
import type { Gate } from '../gate.ts';
import type { Registry } from '../registry.ts';

/** Of what needs the homeserver's data for itself one runs at a time, and the next is refused at once. */
export const lockGate =
  (running: () => readonly Job[], registry: Registry): Gate =>
  ({ command }) => {
    if (command.lock === 'none') return;
    const holder = running().find((job) => (registry.find(job.command)?.lock ?? 'none') !== 'none');
    if (holder === undefined) return;
    throw new Failure('job.locked', {
      attempted: `run \`${command.name}\``,
      reason: `the job ${holder.id} (${holder.command}) is running`,
      hint: `\`!job info ${holder.id}\` shows it; \`!job cancel ${holder.id}\` stops it after its step.`,
    });
  };
