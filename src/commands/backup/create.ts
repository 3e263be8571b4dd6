import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { fields, text, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineWrite } from '../define.ts';
import { contentWords, destinationArgument, levelText, objectWords } from './shared.ts';

/** A dump is this much smaller than its database, at the least: what is certainly too little space is refused before. */
const atLeastSmaller = 8;

export const backupCreate = defineWrite({
  name: 'backup create',
  summary: 'Back up database, media, signing key, configuration and secrets, sealed to the admins, and prove it.',
  details: [
    'Media that the destination has already are not copied again. The backup counts when its manifest is written, which is last; whatever fails before takes all of it away.',
    'Then the dump is read back, restored into a database that is thrown away, and compared with what the homeserver held: content L3. `backup.not-proven` means that the backup is there and is not what it should be.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  args: z.strictObject({ to: destinationArgument }),
  result: z.object({
    id: z.string(),
    destination: z.string(),
    place: z.string(),
    bytes: z.number(),
    databaseBytes: z.number(),
    newMedia: z.number(),
    media: z.number(),
    mediaMissing: z.number(),
    mediaWrong: z.number(),
    mediaElsewhere: z.array(z.string()),
    contentLevel: z.number(),
    contentMissing: z.string().nullable(),
    rows: z.number(),
    objectLevel: z.number().nullable(),
    seconds: z.number(),
    proofSeconds: z.number(),
  }),
  examples: ['backup create'],

  async plan({ backups, stack }, args) {
    const destination = backups.destination(args.to);
    const [facts, database, free] = await Promise.all([stack.facts(), stack.databaseFacts(), destination.free()]);
    const needed = Math.max(database.bytes / atLeastSmaller, backups.last(destination)?.bytes ?? 0);
    if (free !== null && free < needed)
      throw new Failure('backup.destination-full', {
        attempted: `back up to ${destination.name}`,
        reason: `${destination.place} has ${sizeText(free)} free, and about ${sizeText(needed)} are needed`,
        hint: 'Make space there, or name another place with `--to`.',
      });
    await backups.keys.current();
    const id = backups.nextId(destination);
    return {
      targets: [{ id: `destination ${destination.name}` }, { id: `backup ${id}` }],
      changes: [
        [
          'back up ',
          { strong: facts.serverName },
          ` (database of ${sizeText(database.bytes)}, and media that are new) to ${destination.name}, `,
          { code: destination.place },
        ],
      ],
      data: { id, destination: destination.name },
    };
  },

  async run({ backups, stack, signal }, data) {
    await backups.create(data.id, backups.destination(data.destination), stack, signal);
    return {};
  },

  async readBack({ backups }, data) {
    const destination = backups.destination(data.destination);
    const row = backups.list().find(({ id, destination: at }) => id === data.id && at === data.destination);
    if (row === undefined) return null;
    const { manifest, proof } = await backups.read(data.id, destination);
    const database = manifest.objects.find(({ role }) => role === 'database');
    return {
      id: data.id,
      destination: data.destination,
      place: destination.place,
      bytes: row.bytes ?? 0,
      databaseBytes: database?.stored.bytes ?? 0,
      newMedia: manifest.media.newFiles,
      media: manifest.media.files,
      mediaMissing: manifest.media.missing,
      mediaWrong: manifest.media.wrong,
      mediaElsewhere: manifest.media.elsewhere,
      contentLevel: proof?.content.level ?? 1,
      contentMissing: proof === null ? 'Steward was stopped before it could prove it' : proof.content.missing,
      rows: proof?.content.rows ?? 0,
      objectLevel: row.objectLevel,
      seconds: Math.round((Date.parse(manifest.finishedAt) - Date.parse(manifest.startedAt)) / 100) / 10,
      proofSeconds: proof?.content.seconds ?? 0,
    };
  },

  reply: (result): Part[] => [
    text({ strong: 'Backed up' }, ` as ${result.id}: ${sizeText(result.bytes)} in ${result.seconds} s.`),
    fields(
      ['in', [`${result.destination}, `, { code: result.place }]],
      ['database', [sizeText(result.databaseBytes)]],
      ['media', [`${result.newMedia} new of ${result.media} files`]],
      ['media without a file', result.mediaMissing === 0 ? undefined : [String(result.mediaMissing)]],
      ['media that are not what the database says', result.mediaWrong === 0 ? undefined : [String(result.mediaWrong)]],
      ['not in it', result.mediaElsewhere.length === 0 ? undefined : [`media that lie in ${result.mediaElsewhere.join(', ')} only`]],
      [
        'content',
        [
          `${levelText(result.contentLevel, contentWords, '')}${result.contentLevel === 3 ? ` (${result.rows} rows, ${result.proofSeconds} s)` : ''}`,
          result.contentMissing === null ? '' : `; not further: ${result.contentMissing}`,
        ],
      ],
      ['stored', [levelText(result.objectLevel, objectWords, 'not looked at')]],
    ),
    text('Look at it with ', { command: `backup info ${result.id}` }, '.'),
  ],
});
