import { z } from 'zod';
import { fields, list, text, type Part } from '../../reply/parts.ts';
import { hintLine } from '../../reply/reply.ts';
import { defineWrite } from '../define.ts';
import { assertMaySwap, attachedIn, attachedLine, followUps, lossLine, restoreArgument, settled } from './shared.ts';

export const restoreCutover = defineWrite({
  name: 'restore cutover',
  summary: 'Stop the homeserver, put a prepared restore in place, and start it; what was live is kept.',
  details: [
    'The databases change places by a rename, with sessions ended and refused; keys, configuration and secrets are replaced, media added. The homeserver must answer again, and an account that is made for this must be able to log in, write and read (it is erased at once); otherwise all is put back as it was, by itself. So it is after a crash at any step.',
    '`restore undo` goes back, until `restore finish` removes what was live before.',
  ],
  tier: 'catastrophic',
  lock: 'restore',
  bulk: false,
  args: z.strictObject({ restore: restoreArgument }),
  result: z.object({
    id: z.string(),
    backup: z.string(),
    parts: z.array(z.string()),
    databaseAt: z.string(),
    downtimeSeconds: z.number(),
    files: z.array(z.string()),
    proven: z.string(),
    attached: z.array(z.string()),
    canUndo: z.boolean().describe('Something was live before, and is kept.'),
    delegated: z.boolean().describe('Matrix Authentication Service has the accounts.'),
  }),
  examples: ['restore cutover latest'],

  async plan(ctx, args) {
    const { restores } = ctx;
    const row = restores.inState(args.restore, 'cut over', ['prepared', 'undone']);
    await assertMaySwap(ctx, row.parts);
    const report = row.report;
    const since = report?.databaseAt ?? row.startedAt;
    const components = (await ctx.stack.components()).map(({ name }) => name);
    const changed = (await ctx.stack.restores.heldFiles(row.id)).filter(({ live }) => live !== 'same').map(({ path }) => path);
    const withDatabase = row.parts.includes('database');
    const undo = `restore undo ${row.id}`;
    // Where nothing is live there is nothing to lose, and nothing to go back to.
    const hasLive = !withDatabase || (await ctx.stack.restores.databases(row.id)).live;
    const preview = [
      ...(withDatabase && hasLive ? [lossLine(await restores.loss(row), since, undo)] : []),
      ...(report?.remarks ?? []).map(hintLine),
    ];
    return {
      targets: [{ id: `restore ${row.id}` }, { id: `backup ${row.backup}` }],
      changes: [
        [`stop ${components.join(', ')}, and start again`, ...(withDatabase ? [' on the data of ', { time: since }] : [])],
        [`put in place: ${row.parts.join(', ')}`],
        ...(changed.length === 0 ? [] : [[`replace ${changed.join(', ')}`]]),
      ],
      ...(preview.length === 0 ? {} : { preview }),
      ...(hasLive ? { undo } : {}),
      data: { id: row.id },
    };
  },

  async run({ restores }, data) {
    return { ...(await restores.cutover(data.id)) };
  },

  async readBack({ restores, stack }, data, note) {
    const row = await settled(restores, data.id);
    if (row.state !== 'live') return null;
    const withDatabase = row.parts.includes('database');
    const { prepared, kept } = withDatabase ? await stack.restores.databases(row.id) : { prepared: false, kept: true };
    if (prepared) return null;
    return {
      id: row.id,
      backup: row.backup,
      parts: [...row.parts],
      databaseAt: new Date(row.report?.databaseAt ?? row.startedAt).toISOString(),
      downtimeSeconds: Math.round((row.downtime ?? 0) / 10) / 100,
      files: (await stack.restores.heldFiles(row.id)).filter(({ isReplaced }) => isReplaced).map(({ path }) => path),
      proven: typeof note['proven'] === 'string' ? note['proven'] : '',
      attached: attachedIn(note),
      canUndo: kept,
      delegated: (await stack.facts()).delegated,
    };
  },

  reply: (result): Part[] => [
    text({ strong: 'Restored' }, ` from ${result.backup}. The homeserver was away for ${result.downtimeSeconds} s, and answers.`),
    fields(
      ['as of', [{ time: Date.parse(result.databaseAt) }]],
      ['proven', result.proven === '' ? undefined : [result.proven]],
      ['replaced', result.files.length === 0 ? undefined : [{ code: result.files.join(' ') }]],
    ),
    ...attachedLine(result.attached),
    ...(result.parts.includes('database') ? [list(followUps(result.delegated))] : []),
    result.canUndo
      ? text(
          'What was live is kept: ',
          { command: `restore undo ${result.id}` },
          ' goes back, ',
          { command: `restore finish ${result.id}` },
          ' removes it.',
        )
      : text('No database was live before: there is none to go back to. ', { command: `restore finish ${result.id}` }, ' ends it.'),
  ],
});
