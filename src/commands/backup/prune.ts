import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { fields, list, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineWrite } from '../define.ts';
import { destinationArgument } from './shared.ts';

export const backupPrune = defineWrite({
  name: 'backup prune',
  summary: 'Remove the backups of a destination that `backup.retention` does not keep; `--dry-run` shows which, and why the others stay.',
  details: [
    'Never removed: the newest proven backup, what is pinned, and media that a backup which stays is made of. Of one day, week or month the newest proven backup stays.',
  ],
  tier: 'destructive',
  lock: 'backup',
  bulk: false,
  args: z.strictObject({ from: destinationArgument }),
  result: z.object({ destination: z.string(), removed: z.array(z.string()), kept: z.number(), bytes: z.number() }),
  examples: ['backup prune --dry-run', 'backup prune'],

  async plan({ backups }, args) {
    const destination = backups.destination(args.from);
    const judged = await backups.judge(destination);
    const [removed, kept] = [judged.filter(({ reasons }) => reasons.length === 0), judged.filter(({ reasons }) => reasons.length > 0)];
    if (judged.length === 0)
      throw new Failure('backup.not-found', { attempted: 'prune backups', reason: `there is none in ${destination.name}` });
    const bytes = removed.reduce((sum, { id }) => sum + (backups.find(id, destination.name).bytes ?? 0), 0);
    return {
      targets: [{ id: `destination ${destination.name}` }, ...removed.map(({ id }) => ({ id: `backup ${id}` }))],
      objects: removed.length,
      changes: [
        removed.length === 0
          ? [`remove nothing: all ${kept.length} backups are kept`]
          : [`remove ${removed.length} of ${judged.length} backups from ${destination.name}`],
        ...removed.map(({ id, at }): Line => ['remove ', { code: id }, ' of ', { time: at }]),
        ...kept.map(({ id, at, reasons }): Line => ['keep ', { code: id }, ' of ', { time: at }, `: ${reasons.join(', ')}`]),
      ],
      ...(removed.length === 0 ? {} : { permanent: [[`${removed.length} backups, up to ${sizeText(bytes)}`]] }),
      data: { destination: destination.name, ids: removed.map(({ id }) => id), kept: kept.length },
    };
  },

  async run({ backups, signal }, { destination, ids }) {
    return { bytes: await backups.remove(ids, backups.destination(destination), signal) };
  },

  async readBack({ backups }, { destination, ids, kept }, note) {
    const place = backups.destination(destination);
    for (const id of ids) if ((await place.size(`${id}/manifest.json`)) !== null) return null;
    return { destination, removed: ids, kept, bytes: Number(note['bytes'] ?? 0) };
  },

  reply: (result): Part[] => [
    text({ strong: 'Pruned' }, ` ${result.destination}: ${result.removed.length} removed, ${result.kept} kept.`),
    fields(['freed', [sizeText(result.bytes)]]),
    list(result.removed.map((id): Line => [{ code: id }])),
  ],
});
