import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { text, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument, objectWords } from './shared.ts';

export const backupVerify = defineWrite({
  name: 'backup verify',
  summary: 'Read a stored backup again and say whether it is still what was written.',
  details: [
    'Level 0: every object is there, with its size, and no other. Level 1: each is read and hashed. Level 2: each is opened, its content hashed, and the dump read to its end.',
    'Level 2 needs a key: `backup.keys.identity_file`. Without it, level 1 is what Steward can do; an admin does the rest as docs/restore-by-hand.md says.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  args: z.strictObject({
    backup: backupArgument,
    from: destinationArgument,
    level: z
      .enum(['0', '1', '2'], 'one of 0, 1, 2')
      .optional()
      .describe('How far; the highest that there is a key for when left out.')
      .meta({ value: 'LEVEL' }),
  }),
  result: z.object({ id: z.string(), destination: z.string(), objectLevel: z.number(), objects: z.number(), bytes: z.number() }),
  examples: ['backup verify latest', 'backup verify latest --level 1'],

  plan({ backups }, args) {
    const row = backups.find(args.backup, args.from);
    const highest = backups.keys.mode === 'mounted' ? 2 : 1;
    const level = (args.level === undefined ? highest : Number(args.level)) as 0 | 1 | 2;
    if (level > highest) throw new Failure('backup.no-key', { attempted: `open ${row.id}` });
    return Promise.resolve({
      targets: [{ id: `backup ${row.id}` }, { id: `destination ${row.destination}` }],
      changes: [['verify ', { strong: row.id }, ` in ${row.destination} at level ${level}: ${objectWords[level] ?? ''}`]],
      data: { id: row.id, destination: row.destination, level },
    });
  },

  async run({ backups, stack, signal }, data) {
    const row = backups.find(data.id, data.destination);
    const manifest = await backups.verify(row, data.level, stack, signal);
    return { manifest };
  },

  async readBack({ backups }, data) {
    const row = backups.find(data.id, data.destination);
    if (row.objectLevel !== data.level) return null;
    const { manifest } = await backups.read(row.id, backups.destination(row.destination));
    return {
      id: row.id,
      destination: row.destination,
      objectLevel: row.objectLevel,
      objects: manifest.objects.length + manifest.epochs.length,
      bytes: manifest.objects.reduce((sum, { stored }) => sum + stored.bytes, 0),
    };
  },

  reply: (result): Part[] => [
    text(
      { strong: result.id },
      ` in ${result.destination} is what was written: L${result.objectLevel}, ${objectWords[result.objectLevel] ?? ''} (${result.objects} objects, ${sizeText(result.bytes)}).`,
    ),
  ],
});
