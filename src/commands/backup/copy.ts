import { z } from 'zod';
import { isIntact, isSafe } from '../../backup/backups.ts';
import { assertSpace } from '../../backup/space.ts';
import { Failure } from '../../failures/failure.ts';
import { fields, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument, safeText } from './shared.ts';

export const backupCopy = defineWrite({
  name: 'backup copy',
  summary: 'Take a stored backup to another destination, with the media of earlier backups that it is made of.',
  details: [
    'No key is needed. Each object is hashed on its way and read again where it was put; the manifest is put last. Objects that are there already are read and not copied: after a kill the same command goes on where it was. What fails is taken away again.',
    'Where the destination has the backup and it is not proven, what is missing or damaged of it is put there again.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  args: z.strictObject({
    backup: backupArgument,
    to: z.string().min(1, 'not empty').describe('Name of the destination that it goes to.').meta({ value: 'DESTINATION' }),
    from: destinationArgument.describe('Name of the destination that is read; when left out, each that has it, the best proven first.'),
  }),
  result: z.object({
    id: z.string(),
    from: z.array(z.string()),
    to: z.string(),
    place: z.string(),
    objects: z.number(),
    bytes: z.number(),
    objectLevel: z.number().nullable(),
    safe: z.boolean(),
  }),
  examples: ['backup copy latest --to cloud'],

  async plan({ backups }, args) {
    const target = backups.destination(args.to);
    const rows = backups.all(args.backup, args.from);
    const [{ id }] = rows;
    const there = backups.all(id).find(({ destination }) => destination === target.name);
    const sources = rows.filter(({ destination }) => destination !== target.name);
    if (there !== undefined && (isIntact(there) || sources.length === 0))
      throw new Failure('backup.exists', {
        attempted: `copy ${id} to ${target.name}`,
        ...(sources.length === 0 ? { reason: 'no other destination has it' } : {}),
      });
    const { manifest, destination: source } = await backups.readFromAny(sources as [(typeof rows)[0], ...typeof rows]);
    const needed = await backups.lacking(manifest, target);
    await assertSpace(target, needed, `copy ${id} to ${target.name}`);
    return {
      targets: [{ id: `backup ${id}` }, { id: `destination ${target.name}` }],
      changes: [
        [
          there === undefined ? 'copy ' : 'mend ',
          { code: id },
          ` ${there === undefined ? 'to' : 'in'} ${target.name}, `,
          { code: target.place },
        ],
        [`from ${source.name}: ${sizeText(needed.bytes)} that are not there`],
      ],
      data: { id, from: sources.map(({ destination }) => destination), to: target.name },
    };
  },

  async run({ backups, signal, progress }, { id, from, to }) {
    return await backups.copy(id, from, to, signal, progress);
  },

  async readBack({ backups }, { id, from, to }, note) {
    const row = backups.list().find((one) => one.id === id && one.destination === to);
    if (row?.objectLevel == null) return null;
    const target = backups.destination(to);
    await backups.read(id, target);
    return {
      ...{ id, from, to, place: target.place, objectLevel: row.objectLevel, safe: isSafe(backups.all(id)) },
      objects: Number(note['objects'] ?? 0),
      bytes: Number(note['bytes'] ?? 0),
    };
  },

  reply: (result): Part[] => [
    text({ strong: 'Copied' }, ' ', { code: result.id }, ` to ${result.to}: ${result.objects} objects, ${sizeText(result.bytes)}.`),
    fields(['in', [`${result.to}, `, { code: result.place }] satisfies Line], ['safe', [safeText(result.safe)]]),
  ],
});
