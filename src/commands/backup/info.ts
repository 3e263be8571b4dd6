import { z } from 'zod';
import { fields, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineRead } from '../define.ts';
import type { Manifest } from '../../backup/manifest.ts';
import { scriptsPlace, type ScriptsBackup } from '../../backup/scripts/folder.ts';
import { isSafe } from '../../backup/backups.ts';
import {
  absentPart,
  backupArgument,
  contentWords,
  destinationArgument,
  levelText,
  notOpenable,
  objectWords,
  openableField,
  placed,
  placedShape,
  safeText,
} from './shared.ts';

const shape = z.object({
  id: z.string(),
  destination: z.string(),
  place: z.string(),
  destinations: z.array(placedShape),
  safe: z.boolean(),
  serverName: z.string(),
  database: z.string(),
  schemaVersion: z.number().nullable(),
  databaseAt: z.string(),
  bytes: z.number(),
  objects: z.number(),
  media: z.number().nullable(),
  mediaBytes: z.number(),
  mediaMissing: z.number(),
  mediaWrong: z.number(),
  mediaElsewhere: z.array(z.string()),
  excluded: z.array(z.string()),
  absent: z.array(z.string()).describe('Files that the homeserver’s configuration names, and that were not there.'),
  contentLevel: z.number(),
  contentMissing: z.string().nullable(),
  objectLevel: z.number().nullable(),
  openable: openableField,
  /** Null where it is not encrypted. */
  keys: z.enum(['sealed', 'mounted']).nullable(),
  madeBy: z.string(),
  signer: z.string().nullable(),
  files: z.array(z.string()),
});

export const backupInfo = defineRead({
  name: 'backup info',
  summary: 'Show one backup: of what, what is in it, what is proven of it, and who can open it.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({ backup: backupArgument, from: destinationArgument }),
  result: shape,
  examples: ['backup info latest'],

  async read({ backups }, args) {
    const ofScripts = await backups.ofScripts(args.backup, args.from);
    if (ofScripts !== null) return infoOfScripts(ofScripts, backups.scripts?.path ?? '');
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
      database: `${server.database.kind === 'sqlite' ? 'SQLite' : 'PostgreSQL'} ${server.database.version}${heldBy(server.database.engine)}`,
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
      absent: manifest.absent ?? [],
      contentLevel: proof?.content.level ?? 1,
      contentMissing: proof?.content.missing ?? null,
      objectLevel: row.objectLevel,
      openable: row.isOpenable,
      keys: backups.keys.mode,
      madeBy: `Steward ${manifest.tool.steward}`,
      signer: manifest.signer,
      files: [],
    };
  },

  reply: (result): Part[] => (result.destination === scriptsPlace ? partsOfScripts(result) : partsOfOwn(result)),
});

const heldBy = (engine: Manifest['server']['database']['engine']): string =>
  engine === undefined ? '' : `, held by ${engine.name} as ${engine.label} of ${engine.server}`;

type Info = z.input<typeof shape>;

function partsOfOwn(result: Info): Part[] {
  return [
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
      ['signed by', [{ code: result.signer ?? '' }]],
      ['opened by', [result.keys === 'mounted' ? 'Steward, and each admin with a key' : 'each admin with a key; Steward cannot']],
    ),
    ...absentPart(result.absent),
    ...notOpenable(result.openable),
  ];
}

function infoOfScripts(backup: ScriptsBackup, path: string): Info {
  const { id, serverName, at, bytes, files, manifest } = backup;
  return {
    ...{
      id,
      destination: scriptsPlace,
      place: path,
      destinations: [],
      safe: false,
      serverName: serverName ?? 'a server that it does not name',
    },
    ...{ database: backup.database === null ? 'none' : 'PostgreSQL, plain SQL', schemaVersion: null },
    databaseAt: new Date(at).toISOString(),
    ...{
      bytes,
      objects: files.length,
      media: null,
      mediaBytes: backup.media?.bytes ?? 0,
      mediaMissing: 0,
      mediaWrong: 0,
      mediaElsewhere: [],
    },
    excluded: ['configuration'],
    absent: [],
    ...{ contentLevel: 0, contentMissing: manifest === null ? 'the script did not finish it' : null, objectLevel: null },
    openable: true,
    ...{ keys: null, madeBy: 'the scripts', signer: null, files: files.map(({ name }) => name) },
  };
}

function partsOfScripts(result: Info): Part[] {
  return [
    text({ strong: `Backup ${result.id}` }, ` of ${result.serverName}, made by the scripts`),
    fields(
      ['taken', [{ time: Date.parse(result.databaseAt) }]],
      ['lies in', [{ code: `${result.place}/${result.id}` }]],
      ['size', [`${sizeText(result.bytes)} in ${result.objects} files`]],
      ['files', [{ code: result.files.join(' ') }]],
      ['not in it', [result.excluded.join(', ')]],
      ['proven', [result.contentMissing ?? 'never; `backup verify` reads it to its end']],
      ['opened by', ['everybody who can read its folder: it is not encrypted']],
    ),
  ];
}
