import { epochIdentities } from '../../backup/keys.ts';
import type { Unlocker } from '../../backup/opener.ts';
import type { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type { CommandContext } from '../context.ts';

export const identitySecret = {
  alias: 'i',
  lines: true,
  description:
    'Key of age that opens the backup, such as the file of `age-keygen`. Without one, where Steward has none, an admin is asked.',
} as const;

/** @throws Failure `backup.no-key` where nothing and nobody could open a backup */
export function assertOpenable({ backups, requester, unlocks }: CommandContext, attempted: string): void {
  // In the shell a key may come with the command.
  if (backups.keys.identity !== null || unlocks.asked !== null || requester.kind === 'shell') return;
  throw new Failure('backup.no-key', { attempted });
}

/**
 * Opens epochs by the key that came with the command, or by the one that is mounted; what neither opens, an admin is asked for.
 *
 * @param what the command in words
 */
export function unlockerOf(ctx: CommandContext, jobId: string, what: string): Unlocker {
  // Of a copy in another destination the keys are the same: nobody is asked twice.
  const known = new Map<string, Secret>();
  return async (given) => {
    const epochs = ctx.backups.keys.asSealedNow(given);
    const identity = ctx.secrets.get('identity') ?? ctx.backups.keys.identity;
    const opened = identity === null ? new Map<string, Secret>() : await epochIdentities(identity, epochs);
    for (const { name, recipient } of epochs) {
      const key = opened.get(name);
      if (key !== undefined) known.set(recipient, key);
    }
    const closed = epochs.filter(({ recipient }) => !known.has(recipient));
    if (closed.length > 0) {
      if (ctx.secrets.has('identity') || ctx.unlocks.asked === null)
        throw new Failure('backup.no-key', {
          attempted: `open the keys for \`${what}\``,
          ...(identity === null
            ? {}
            : { reason: `the key that Steward was given does not open ${closed.map(({ name }) => name).join(', ')}` }),
        });
      const { unlocks, jobs, leaving } = ctx;
      const answered = await ctx.aside(() => unlocks.ask({ jobId, what, epochs: closed }, () => jobs.isCancelled(jobId), leaving));
      for (const [n, key] of answered.entries()) known.set(closed[n]?.recipient ?? '', key);
    }
    ctx.backups.keys.opened(known.keys());
    return epochs.flatMap(({ recipient }) => known.get(recipient) ?? []);
  };
}
