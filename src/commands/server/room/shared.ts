import { Failure } from '../../../failures/failure.ts';
import type { RoomGuard } from '../../../room/guard.ts';
import type { CommandContext } from '../../context.ts';

/** @throws Failure `config.no-room` where none is configured, and those of the family `homeserver` */
export async function lookAtRoom(ctx: CommandContext, attempted: string): Promise<NonNullable<Awaited<ReturnType<RoomGuard['look']>>>> {
  const found = await ctx.guard.look();
  if (found === null) throw new Failure('config.no-room', { attempted });
  return found;
}

/** Who asks, in a word for the audit; how their event came stands in the record of the job. */
export function nameOf({ requester }: CommandContext): string {
  return requester.kind === 'person' ? requester.person : requester.kind;
}
