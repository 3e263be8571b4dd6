import { z } from 'zod';
import { isSafe, notEverywhere } from '../../backup/backups.ts';
import { nowhere } from '../../backup/create.ts';
import { masLeftOut } from '../../backup/mas.ts';
import { assertSpace } from '../../backup/space.ts';
import { Failure } from '../../failures/failure.ts';
import { fields, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { defineWrite } from '../define.ts';
import {
  absentPart,
  changeWaits,
  contentWords,
  destinationArgument,
  levelText,
  notOpenable,
  objectWords,
  openableField,
  safeText,
} from './shared.ts';

export const backupCreate = defineWrite({
  name: 'backup create',
  summary: 'Back up database, media, signing key, configuration and secrets, sealed to the admins, and prove it.',
  details: [
    'Where Matrix Authentication Service has the accounts, its configuration, secrets and database go with it when `stack.mas_config` names its configuration; else the answer says that they are missing.',
    'It goes to every destination of the configuration, from one dump; `--to` names one. A destination that fails does so alone: the others have the backup, and `backup.not-everywhere` says which has not. Proven in two destinations it is safe.',
    'Media that the destination has already are not copied again. The backup counts when its manifest is written, which is last; whatever fails before takes all of it away.',
    'Then the dump is read back, restored into a database that is thrown away, and compared with what the homeserver held: content L3. New media are hashed against the homeserver’s database as they are copied, which is all of them where a destination has none yet; once a month, and with `--all-media`, all media are, and every pack is read again. Where all were, that is content L4. `backup.not-proven` means that the backup is there and is not what it should be.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  args: z.strictObject({
    to: destinationArgument.describe('Name of the only destination; all when left out.'),
    allMedia: z.boolean().default(false).describe('Look at all media and all packs too, not only at what is new.'),
  }),
  result: z.object({
    id: z.string(),
    destinations: z.array(z.object({ name: z.string(), place: z.string(), objectLevel: z.number().nullable() })),
    safe: z.boolean(),
    bytes: z.number(),
    databaseBytes: z.number(),
    database: z.enum(['pg_dump', 'sqlite', 'engine']).describe('What it has of the database.'),
    newMedia: z.number(),
    media: z.number(),
    mediaBytes: z.number(),
    mediaMissing: z.number(),
    mediaWrong: z.number(),
    /** Media that were held against their rows, all of them; null where only new ones were. */
    mediaChecked: z.number().nullable(),
    mediaRotten: z.array(z.string()),
    mediaElsewhere: z.array(z.string()),
    absent: z.array(z.string()).describe('Files that the homeserver’s configuration names, and that were not there.'),
    mas: z.enum(['none', 'in it', 'not in it']).describe('The accounts, where Matrix Authentication Service has them.'),
    masBytes: z.number(),
    contentLevel: z.number(),
    contentMissing: z.string().nullable(),
    rows: z.number(),
    seconds: z.number(),
    proofSeconds: z.number(),
    openable: openableField,
    recipientsWait: z.boolean().describe('Whether the configuration names other recipients than it is sealed to.'),
  }),
  examples: ['backup create'],

  async plan({ backups, stack }, args) {
    const destinations = backups.destinations(args.to);
    const [facts, database] = await Promise.all([stack.facts(), stack.databaseFacts()]);
    const looks = await Promise.allSettled(
      destinations.map(async (destination) =>
        assertSpace(destination, await backups.needed(destination, database.bytes), `back up to ${destination.name}`),
      ),
    );
    const lost = looks.flatMap((look) => (look.status === 'rejected' ? [look.reason as unknown] : []));
    if (lost.length === destinations.length)
      throw lost.length === 1 ? lost[0] : nowhere(`back up to ${destinations.map(({ name }) => name).join(', ')}`, lost);
    await backups.keys.current();
    const id = backups.nextId();
    return {
      targets: [...destinations.map(({ name }) => ({ id: `destination ${name}` })), { id: `backup ${id}` }],
      changes: [
        ['back up ', { strong: facts.serverName }, ` (database of ${sizeText(database.bytes)}, and media that are new)`],
        ...destinations.map(({ name, place }): Line => [`to ${name}, `, { code: place }]),
      ],
      data: { id, destinations: destinations.map(({ name }) => name), allMedia: args.allMedia },
    };
  },

  async run({ backups, stack, signal, progress }, data) {
    await backups.create(data.id, data.destinations, data.allMedia, stack, signal, progress);
    return {};
  },

  async readBack({ backups }, data) {
    const rows = backups.list().filter(({ id }) => id === data.id);
    if (rows.length === 0) return null;
    const missing = data.destinations.filter((name) => rows.every(({ destination }) => destination !== name));
    if (missing.length > 0)
      throw notEverywhere(
        data.id,
        rows,
        missing.map((name) => ({ name, failure: new Failure('backup.not-found', { reason: 'it has no such backup' }) })),
      );
    const [row] = backups.all(data.id);
    const { manifest, proof } = await backups.read(data.id, backups.destination(row.destination));
    const ofRole = (wanted: string) => manifest.objects.find(({ role }) => role === wanted);
    const [database, mas] = [ofRole('database'), ofRole('mas-database')];
    return {
      id: data.id,
      destinations: backups.all(data.id).map(({ destination, objectLevel }) => ({
        name: destination,
        place: backups.destination(destination).place,
        objectLevel,
      })),
      safe: isSafe(rows),
      bytes: row.bytes ?? 0,
      databaseBytes: database?.stored.bytes ?? 0,
      database: manifest.server.database.kind,
      newMedia: manifest.media.newFiles,
      media: manifest.media.files,
      mediaBytes: manifest.media.bytes,
      mediaMissing: manifest.media.missing,
      mediaWrong: manifest.media.wrong,
      mediaChecked: proof?.content.media?.media ?? null,
      mediaRotten: proof?.content.media?.examples ?? [],
      mediaElsewhere: manifest.media.elsewhere,
      absent: manifest.absent ?? [],
      mas: mas !== undefined ? ('in it' as const) : manifest.excluded.includes(masLeftOut) ? ('not in it' as const) : ('none' as const),
      masBytes: mas?.stored.bytes ?? 0,
      contentLevel: proof?.content.level ?? 1,
      contentMissing: proof === null ? 'Steward was stopped before it could prove it' : proof.content.missing,
      rows: proof?.content.rows ?? 0,
      seconds: Math.round((Date.parse(manifest.finishedAt) - Date.parse(manifest.startedAt)) / 100) / 10,
      proofSeconds: proof?.content.seconds ?? 0,
      openable: row.isOpenable,
      recipientsWait: (await backups.keys.recipients.change()) !== null,
    };
  },

  reply: (result): Part[] => [
    text({ strong: 'Backed up' }, ` as ${result.id}: ${sizeText(result.bytes)} in ${result.seconds} s.`),
    fields(
      ...result.destinations.map(({ name, place, objectLevel }): [string, Line] => [
        'in',
        [`${name}, `, { code: place }, `: stored ${levelText(objectLevel, objectWords, 'not looked at')}`],
      ]),
      ['safe', [safeText(result.safe)]],
      ['database', [sizeText(result.databaseBytes)]],
      ['Matrix Authentication Service', result.mas === 'in it' ? [`${sizeText(result.masBytes)}, its database`] : undefined],
      ['media', [`${result.newMedia} new of ${result.media} files`]],
      [
        'media looked at',
        [
          result.mediaChecked === null ? 'new ones' : `all ${result.mediaChecked}, and every pack`,
          result.mediaRotten.length === 0 ? '' : `; without their file, or with another one: ${result.mediaRotten.join(', ')}`,
        ],
      ],
      ['media without a file', result.mediaMissing === 0 ? undefined : [String(result.mediaMissing)]],
      ['media that are not what the database says', result.mediaWrong === 0 ? undefined : [String(result.mediaWrong)]],
      [
        'not in it',
        result.mediaElsewhere.length === 0
          ? undefined
          : [`what only lies in ${result.mediaElsewhere.join(', ')} (media_storage_providers)`],
      ],
      [
        'content',
        [
          `${levelText(result.contentLevel, contentWords, '')}${result.contentLevel >= 3 ? ` (${result.rows} rows, ${result.proofSeconds} s)` : ''}`,
          result.contentMissing === null ? '' : `; not further: ${result.contentMissing}`,
        ],
      ],
    ),
    ...(result.mas === 'not in it'
      ? [
          text(
            '⚠️ Not in it: ',
            masLeftOut,
            '. With this backup alone nobody can log in. ',
            { code: 'stack.mas_config' },
            ' names its configuration, by which its database is found.',
          ),
        ]
      : []),
    ...absentPart(result.absent),
    ...notOpenable(result.openable),
    ...(result.recipientsWait ? [text('⚠️ ', changeWaits, { command: 'backup keys accept' }, ' changes that.')] : []),
    text('Look at it with ', { command: `backup info ${result.id}` }, '.'),
  ],
});
