import { z } from 'zod';
import type { Judged } from '../../backup/retention.ts';
import { Failure } from '../../failures/failure.ts';
import { fields, list, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineWrite } from '../define.ts';
import { destinationArgument } from './shared.ts';

export const backupPrune = defineWrite({
  name: 'backup prune',
  summary:
    'Remove the backups that `backup.retention` does not keep, in each destination; `--dry-run` shows which, and why the others stay.',
  details: [
    'Packs of media go with the last backup that is made of them; new ones are not made of packs whose media the homeserver has not any more.',
    'Never removed: the newest proven backup, what is pinned, and media that a backup which stays is made of. Of one day, week or month the newest proven backup stays.',
  ],
  tier: 'destructive',
  lock: 'backup',
  bulk: false,
  args: z.strictObject({ from: destinationArgument.describe('Name of the only destination; each when left out.') }),
  result: z.object({
    destinations: z.array(z.object({ destination: z.string(), removed: z.array(z.string()), kept: z.number() })),
    bytes: z.number(),
  }),
  examples: ['backup prune --dry-run', 'backup prune'],

  async plan({ backups }, args) {
    const each = await Promise.all(
      backups.destinations(args.from).map(async (destination) => {
        const judged = await backups.judge(destination);
        const isKept = ({ reasons }: Judged): boolean => reasons.length > 0;
        return { name: destination.name, judged, removed: judged.filter((one) => !isKept(one)), kept: judged.filter(isKept) };
      }),
    );
    const there = each.filter(({ judged }) => judged.length > 0);
    if (there.length === 0)
      throw new Failure('backup.not-found', {
        attempted: 'prune backups',
        reason: `there is none in ${each.map(({ name }) => name).join(', ')}`,
      });
    const removed = there.flatMap(({ name, removed: gone }) => gone.map((one) => ({ ...one, name })));
    const bytes = removed.reduce((sum, { id, name }) => sum + (backups.find(id, name).bytes ?? 0), 0);
    return {
      targets: [
        ...there.map(({ name }) => ({ id: `destination ${name}` })),
        ...[...new Set(removed.map(({ id }) => id))].map((id) => ({ id: `backup ${id}` })),
      ],
      objects: removed.length,
      changes: there.flatMap(({ name, judged, removed: gone, kept }): Line[] => [
        gone.length === 0
          ? [`remove nothing from ${name}: all ${kept.length} backups are kept`]
          : [`remove ${gone.length} of ${judged.length} backups from ${name}`],
        ...gone.map(({ id, at }): Line => ['remove ', { code: id }, ' of ', { time: at }]),
        ...kept.map(({ id, at, reasons }): Line => ['keep ', { code: id }, ' of ', { time: at }, `: ${reasons.join(', ')}`]),
      ]),
      ...(removed.length === 0 ? {} : { permanent: [[`${removed.length} backups, up to ${sizeText(bytes)}`]] }),
      data: {
        from: there.map(({ name, removed: gone, kept }) => ({ destination: name, ids: gone.map(({ id }) => id), kept: kept.length })),
      },
    };
  },

  async run(ctx, { from }) {
    return { bytes: await ctx.backups.remove(from, () => ctx.stack, ctx.signal) };
  },

  async readBack({ backups }, { from }, note) {
    for (const { destination, ids } of from) {
      const place = backups.destination(destination);
      for (const id of ids) if ((await place.size(`${id}/manifest.json`)) !== null) return null;
    }
    return {
      destinations: from.map(({ destination, ids, kept }) => ({ destination, removed: ids, kept })),
      bytes: Number(note['bytes'] ?? 0),
    };
  },

  reply: (result): Part[] => [
    text(
      { strong: 'Pruned' },
      ` ${result.destinations.map(({ destination, removed, kept }) => `${destination}: ${removed.length} removed, ${kept} kept`).join('; ')}.`,
    ),
    fields(['freed', [sizeText(result.bytes)]]),
    ...(result.destinations.every(({ removed }) => removed.length === 0) ? [] : [list(removedLines(result.destinations))]),
  ],
});

const removedLines = (destinations: readonly { destination: string; removed: readonly string[] }[]): Line[] =>
  destinations.flatMap(({ destination, removed }) =>
    removed.map((id): Line => [{ code: id }, ...(destinations.length > 1 ? [` in ${destination}`] : [])]),
  );
