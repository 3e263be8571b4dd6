import { z } from 'zod';
import { text, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument, objectWords } from './shared.ts';
import { assertOpenable, identitySecret, unlockerOf } from './unlocker.ts';

export const backupVerify = defineWrite({
  name: 'backup verify',
  summary: 'Read a stored backup again and say whether it is still what was written.',
  details: [
    'Level 0: every object is there, with its size, and no other. Level 1: each is read and hashed. Level 2: each is opened, its content hashed, and the dump read to its end.',
    'Level 2 needs a key. Where Steward has none (`backup.keys.identity_file`), `--level 2` asks an admin for it; without a level, the highest that needs nobody is taken.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  again: true,
  args: z.strictObject({
    backup: backupArgument,
    from: destinationArgument,
    level: z
      .enum(['0', '1', '2'], 'one of 0, 1, 2')
      .optional()
      .describe('How far; the highest that there is a key for when left out.')
      .meta({ value: 'LEVEL' }),
  }),
  secrets: { identity: identitySecret },
  result: z.object({ id: z.string(), destination: z.string(), objectLevel: z.number(), objects: z.number(), bytes: z.number() }),
  examples: ['backup verify latest', 'backup verify latest --level 1'],

  plan(ctx, args) {
    const { backups } = ctx;
    const row = backups.find(args.backup, args.from);
    const highest = backups.keys.mode === 'mounted' ? 2 : 1;
    const level = (args.level === undefined ? highest : Number(args.level)) as 0 | 1 | 2;
    if (level > 1) assertOpenable(ctx, `open ${row.id}`);
    return Promise.resolve({
      targets: [{ id: `backup ${row.id}` }, { id: `destination ${row.destination}` }],
      changes: [['verify ', { strong: row.id }, ` in ${row.destination} at level ${level}: ${objectWords[level] ?? ''}`]],
      data: { id: row.id, destination: row.destination, level },
    });
  },

  async run(ctx, data, jobId) {
    const { backups, stack, signal } = ctx;
    const row = backups.find(data.id, data.destination);
    const manifest = await backups.verify(row, data.level, unlockerOf(ctx, jobId, `backup verify ${data.id}`), stack, signal);
    return { manifest };
  },

  async readBack({ backups }, data, { manifest: looked }) {
    const row = backups.find(data.id, data.destination);
    // One that a crash has cut off has looked at nothing, whatever was found before it.
    if (looked === undefined || (row.objectLevel ?? -1) < data.level) return null;
    const { manifest } = await backups.read(row.id, backups.destination(row.destination));
    return {
      id: row.id,
      destination: row.destination,
      objectLevel: data.level,
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
