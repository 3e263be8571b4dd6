import { z } from 'zod';
import type { ScriptsContent } from '../../backup/scripts/content.ts';
import { scriptsPlace, type ScriptsBackup } from '../../backup/scripts/folder.ts';
import { Failure } from '../../failures/failure.ts';
import { list, text, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import type { PlanItem } from '../../workflow/plan.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument, objectWords } from './shared.ts';
import { assertOpenable, identitySecret, unlockerOf } from './unlocker.ts';

export const backupVerify = defineWrite({
  name: 'backup verify',
  summary: 'Read a stored backup again and say whether it is still what was written.',
  details: [
    'Level 0: every object is there, with its size, and no other. Level 1: each is read and hashed. Level 2: each is opened, its content hashed, and the dump read to its end.',
    'A backup that the scripts made is always read to its end: the dump to its last line, archives whole, hashes where the script wrote some.',
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
  result: z.object({
    id: z.string(),
    destination: z.string(),
    objectLevel: z.number(),
    objects: z.number(),
    bytes: z.number(),
    checks: z.array(z.string()),
  }),
  examples: ['backup verify latest', 'backup verify latest --level 1'],

  async plan(ctx, args) {
    const { backups } = ctx;
    const ofScripts = await backups.ofScripts(args.backup, args.from);
    if (ofScripts !== null) return planOfScripts(ofScripts, args.level);
    const row = backups.find(args.backup, args.from);
    const highest = backups.keys.mode === 'mounted' ? 2 : 1;
    const level = (args.level === undefined ? highest : Number(args.level)) as 0 | 1 | 2;
    if (level > 1) assertOpenable(ctx, `open ${row.id}`);
    return {
      targets: [{ id: `backup ${row.id}` }, { id: `destination ${row.destination}` }],
      changes: [['verify ', { strong: row.id }, ` in ${row.destination} at level ${level}: ${objectWords[level] ?? ''}`]],
      data: { id: row.id, destination: row.destination, level },
    };
  },

  async run(ctx, data, jobId) {
    const { backups, stack, signal, progress } = ctx;
    if (data.destination === scriptsPlace) return { scripts: await backups.readScripts(data.id, signal, progress) };
    const row = backups.find(data.id, data.destination);
    const manifest = await backups.verify(row, data.level, unlockerOf(ctx, jobId, `backup verify ${data.id}`), stack, signal);
    return { manifest };
  },

  async readBack({ backups }, data, { manifest: looked, scripts }) {
    if (data.destination === scriptsPlace)
      return resultOfScripts(await backups.scripts?.get(data.id), scripts as ScriptsContent | undefined);
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
      checks: [],
    };
  },

  reply: (result): Part[] =>
    result.destination === scriptsPlace
      ? [
          text(
            { strong: result.id },
            `, which the scripts made, can be read: L${result.objectLevel}, ${objectWords[result.objectLevel] ?? ''} (${result.objects} files, ${sizeText(result.bytes)}). Nobody has compared it with the database that it was made of.`,
          ),
          list(result.checks.map((check) => [check])),
        ]
      : [
          text(
            { strong: result.id },
            ` in ${result.destination} is what was written: L${result.objectLevel}, ${objectWords[result.objectLevel] ?? ''} (${result.objects} objects, ${sizeText(result.bytes)}).`,
          ),
        ],
});

function planOfScripts(
  { id, bytes }: ScriptsBackup,
  level: string | undefined,
): PlanItem<{ id: string; destination: string; level: 0 | 1 | 2 }> {
  if (level !== undefined && level !== '2')
    throw new Failure('usage.invalid-value', { reason: 'a backup of the scripts is read to its end, which is level 2, or not at all' });
  return {
    targets: [{ id: `backup ${id}` }, { id: `destination ${scriptsPlace}` }],
    changes: [['read ', { strong: id }, ` of the scripts, ${sizeText(bytes)}, to its end`]],
    data: { id, destination: scriptsPlace, level: 2 },
  };
}

function resultOfScripts(backup: ScriptsBackup | null | undefined, content: ScriptsContent | undefined) {
  if (backup == null || content === undefined) return null;
  const { summary, media, hashed } = content;
  return {
    id: backup.id,
    destination: scriptsPlace,
    objectLevel: 2,
    objects: backup.files.length,
    bytes: backup.bytes,
    checks: [
      `${backup.database?.name ?? ''}: whole, of ${summary.serverName}, PostgreSQL ${summary.database?.major ?? 'of a version that it does not say'}, schema ${summary.database?.schemaVersion ?? ''}`,
      `${backup.media?.name ?? ''}: whole, ${media.files} files of local media, ${sizeText(media.bytes)}`,
      `${backup.key?.name ?? ''}: a signing key`,
      hashed.length > 0
        ? `${hashed.length} files have the hash that the script wrote`
        : 'the script wrote no hashes: what was exchanged for something whole is not noticed',
    ],
  };
}
