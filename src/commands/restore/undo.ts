import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text, type Part } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { assertMaySwap, attachedIn, attachedLine, lossLine, provisionLine, restoreArgument, settled } from './shared.ts';

/** Milliseconds after a cutover in which the one who asks may take it back alone. */
const soon = 3_600_000;

export const restoreUndo = defineWrite({
  name: 'restore undo',
  summary: 'Go back to what was live before a cutover.',
  details: [
    'The same swap, back. What was written since the cutover stays in the restored copy, until `restore finish` removes it. Within an hour of the cutover the one who asks confirms it alone; later it is as the cutover.',
    'It also ends a cutover that could neither be finished nor taken back.',
  ],
  tier: 'confirmed',
  lock: 'restore',
  bulk: false,
  args: z.strictObject({ restore: restoreArgument }),
  result: z.object({
    id: z.string(),
    downtimeSeconds: z.number(),
    attached: z.array(z.string()),
    delegated: z.boolean(),
    parts: z.array(z.string()),
  }),
  examples: ['restore undo latest --yes'],

  async plan(ctx, args) {
    const { restores, clock } = ctx;
    const row = restores.inState(args.restore, 'undo', ['live', 'undoing', 'cutting-over']);
    await assertMaySwap(ctx, row.parts);
    if (row.state === 'live' && row.parts.includes('database') && !(await ctx.stack.restores.databases(row.id)).kept)
      throw new Failure('restore.state', {
        attempted: `undo ${row.id}`,
        reason: 'no database was live before it, so there is none to go back to',
        hint: `\`!restore finish ${row.id}\` ends it.`,
      });
    const since = row.cutOverAt ?? row.changedAt;
    const isLate = row.state === 'live' && clock.now() - since > soon;
    return {
      targets: [{ id: `restore ${row.id}` }],
      changes: [['stop the homeserver, and start it again on what was live before ', { strong: row.id }]],
      ...(row.state === 'live' && row.parts.includes('database')
        ? { preview: [lossLine(await restores.loss(row), since, `restore cutover ${row.id}`)] }
        : {}),
      ...(isLate ? { raise: { tier: 'catastrophic' as const, reason: 'the cutover is more than an hour ago' } } : {}),
      undo: `restore cutover ${row.id}`,
      data: { id: row.id },
    };
  },

  async run({ restores }, data) {
    return { ...(await restores.undo(data.id)) };
  },

  async readBack({ restores, stack }, data, note) {
    const row = await settled(restores, data.id);
    if (row.state !== 'undone' && row.state !== 'prepared') return null;
    if (row.parts.includes('database') && !(await stack.restores.databases(row.id)).prepared) return null;
    return {
      id: row.id,
      downtimeSeconds: Math.round((row.downtime ?? 0) / 10) / 100,
      attached: attachedIn(note),
      delegated: (await stack.facts()).delegated,
      parts: [...row.parts],
    };
  },

  reply: (result): Part[] => [
    text(
      { strong: 'Went back' },
      ` to what was live before ${result.id}. The homeserver was away for ${result.downtimeSeconds} s, and answers.`,
    ),
    ...attachedLine(result.attached),
    ...(result.delegated && result.parts.includes('database') ? [text(...provisionLine)] : []),
    text('The restored copy is kept: ', { command: `restore finish ${result.id}` }, ' removes it.'),
  ],
});
