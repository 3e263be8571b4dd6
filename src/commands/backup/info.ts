import { z } from 'zod';
import { fields, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineRead } from '../define.ts';
import { isSafe } from '../../backup/backups.ts';
import { backupArgument, contentWords, destinationArgument, levelText, objectWords, placed, placedShape, safeText } from './shared.ts';

export const backupInfo = defineRead({
  name: 'backup info',
  summary: 'Show one backup: of what, what is in it, what is proven of it, and who can open it.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({ backup: backupArgument, from: destinationArgument }),
  result: z.object({
    id: z.string(),
    destination: z.string(),
    place: z.string(),
    destinations: z.array(placedShape),
    safe: z.boolean(),
    serverName: z.string(),
    database: z.string(),
    schemaVersion: z.number(),
    databaseAt: z.string(),
    bytes: z.number(),
    objects: z.number(),
    media: z.number(),
    mediaBytes: z.number(),
    mediaMissing: z.number(),
    mediaWrong: z.number(),
    mediaElsewhere: z.array(z.string()),
    excluded: z.array(z.string()),
    contentLevel: z.number(),
    contentMissing: z.string().nullable(),
    objectLevel: z.number().nullable(),
    keys: z.enum(['sealed', 'mounted']),
    madeBy: z.string(),
    signer: z.string(),
  }),
  examples: ['backup info latest'],

  async read({ backups }, args) {
    const { row, destination, manifest, proof } = await backups.readFromAny(backups.all(args.backup, args.from));
    const everywhere = backups.all(row.id);
    const { server, media } = manifest;
    return {
      id: row.id,
      destination: row.destination,
      place: destination.place,
      destinations: everywhere.map(placed),
      safe: isSafe(everywhere),
      serverName: server.name,
      database: `${server.database.kind === 'pg_dump' ? 'PostgreSQL' : 'SQLite'} ${server.database.version}`,
      schemaVersion: server.database.schemaVersion,
      databaseAt: manifest.databaseAt,
      bytes: manifest.objects.reduce((sum, { stored }) => sum + stored.bytes, 0),
      objects: manifest.objects.length + manifest.epochs.length,
      media: media.files,
      mediaBytes: media.bytes,
      mediaMissing: media.missing,
      mediaWrong: media.wrong,
      mediaElsewhere: media.elsewhere,
      excluded: manifest.excluded,
      contentLevel: proof?.content.level ?? 1,
      contentMissing: proof?.content.missing ?? null,
      objectLevel: row.objectLevel,
      keys: backups.keys.mode,
      madeBy: `Steward ${manifest.tool.steward}`,
      signer: manifest.signer,
    };
  },

  reply: (result): Part[] => [
    text({ strong: `Backup ${result.id}` }, ` of ${result.serverName}`),
    fields(
      ['taken', [{ time: Date.parse(result.databaseAt) }]],
      ['read in', [`${result.destination}, `, { code: `${result.place}/${result.id}` }]],
      ...result.destinations.map(({ name, objectLevel }): [string, Line] => [
        `stored in ${name}`,
        [levelText(objectLevel, objectWords, 'not proven; see backup verify')],
      ]),
      ['safe', [safeText(result.safe)]],
      ['size', [`${sizeText(result.bytes)} in ${result.objects} objects`]],
      ['database', [`${result.database}, schema ${result.schemaVersion}`]],
      ['media', [`${result.media} files, ${sizeText(result.mediaBytes)}`]],
      ['media without a file', result.mediaMissing === 0 ? undefined : [String(result.mediaMissing)]],
      ['media that are not what the database says', result.mediaWrong === 0 ? undefined : [String(result.mediaWrong)]],
      ['not in it', [[...result.excluded, ...result.mediaElsewhere.map((place) => `media that only ${place} has`)].join(', ')]],
      [
        'content',
        [levelText(result.contentLevel, contentWords, ''), result.contentMissing === null ? '' : `; not further: ${result.contentMissing}`],
      ],
      ['signed by', [{ code: result.signer }]],
      ['opened by', [result.keys === 'mounted' ? 'Steward, and each admin with a key' : 'each admin with a key; Steward cannot']],
    ),
  ],
});
