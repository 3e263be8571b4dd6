import { z } from 'zod';
import { fromFirst } from '../../backup/places.ts';
import type { Destination } from '../../backup/destinations/destination.ts';
import { neverProven } from '../../backup/prepare.ts';
import { stateWords } from '../../backup/restores.ts';
import { scriptsPlace } from '../../backup/scripts/folder.ts';
import { cloneRemark } from '../../backup/clone.ts';
import { Failure } from '../../failures/failure.ts';
import type { RestorePart } from '../../store/restores.ts';
import { fields, list, text, type Part } from '../../reply/parts.ts';
import { hintLine } from '../../reply/reply.ts';
import { sizeText } from '../../reply/size.ts';
import { backupArgument, destinationArgument } from '../backup/shared.ts';
import { assertOpenable, identitySecret, unlockerOf } from '../backup/unlocker.ts';
import { defineWrite } from '../define.ts';
import { count, onlyArgument, partsIn } from './shared.ts';

const signerArgument = z
  .string()
  .regex(/^[\w-]{43}$/, 'a public key as `backup info` shows it')
  .optional()
  .describe('Of a backup that another Steward made, such as that of a server that is lost: its public key.')
  .meta({ value: 'KEY' });

const cloneArgument = z
  .boolean()
  .default(false)
  .describe('As a second server of the same name that speaks to nobody: a signing key of its own, federation, push and mail off.');

/** Of a clone nothing that would make it the real server. @throws Failure `usage.invalid-value` */
function partsOf(only: string | undefined, asClone: boolean): RestorePart[] {
  const parts = partsIn(only);
  if (!asClone) return parts;
  const data = parts.filter((part) => part === 'database' || part === 'media');
  if (only === undefined) return data;
  if (data.length === parts.length) return parts;
  throw new Failure('usage.invalid-value', {
    reason: 'a clone has neither keys nor configuration nor secrets of the real server',
    hint: 'Leave `--only` out, or name database and media.',
  });
}

/** Not in this catalogue: it is looked for by its id alone. */
function foreign(id: string, destinations: readonly Destination[]): { id: string; destination: string }[] {
  if (id !== 'latest') return destinations.map(({ name }) => ({ id, destination: name }));
  throw new Failure('usage.invalid-value', {
    reason: 'of another Steward’s backups the id must be given',
    hint: 'Its folder in the destination is named so.',
  });
}

export const restorePrepare = defineWrite({
  name: 'restore prepare',
  summary: 'Load a backup beside the live homeserver and check it; nothing that is live is touched.',
  details: [
    'It is read from the destination where it is best proven, and from the next one where an object of it is missing or damaged there.',
    'The manifest is looked at first: whose backup it is, schema, version and encoding of the database, and whether there is a key. Then the database is loaded into a new one beside the live one and compared with what was proven, and the media that are missing are unpacked beside the others. Whatever fails takes all of it away.',
    'A backup that the scripts made is read to its end before anything is loaded: the dump to its last line, the archive of media whole. Statements that pg_dump does not write are refused.',
    '`restore cutover` puts it in place. One restore is open at a time: another `prepare` takes the place of one that is not live.',
    '`--as-clone` is for a look at a backup on another machine with an empty new server: it is refused where anybody has an account. What the clone starts with has no key of the real server and no way out.',
    'The configuration keeps where database, media and signing key are, and the password of today. Files that today’s configuration does not name are not put back.',
  ],
  tier: 'confirmed',
  lock: 'restore',
  bulk: false,
  again: true,
  args: z.strictObject({
    backup: backupArgument,
    from: destinationArgument,
    only: onlyArgument,
    signer: signerArgument,
    asClone: cloneArgument,
  }),
  secrets: {
    identity: identitySecret,
  },
  result: z.object({
    id: z.string(),
    backup: z.string(),
    destination: z.string(),
    parts: z.array(z.string()),
    databaseAt: z.string(),
    tables: z.number(),
    proven: z.boolean(),
    rows: z.number(),
    media: z.number(),
    mediaBytes: z.number(),
    mediaMissing: z.number(),
    files: z.array(z.string()),
    remarks: z.array(z.string()),
    seconds: z.number(),
  }),
  examples: ['restore prepare latest --yes'],

  async plan(ctx, args) {
    const { backups, restores, stack } = ctx;
    const ofScripts = args.signer === undefined ? await backups.ofScripts(args.backup, args.from) : null;
    const rows =
      ofScripts !== null
        ? [{ id: ofScripts.id, destination: scriptsPlace }]
        : args.signer === undefined
          ? backups.all(args.backup, args.from)
          : foreign(args.backup, backups.destinations(args.from));
    const { asClone } = args;
    const parts = partsOf(args.only, asClone);
    const open = restores.open();
    if (open !== null && open.state !== 'prepared' && open.state !== 'undone')
      throw new Failure('restore.state', {
        attempted: `prepare ${args.backup}`,
        reason: `the restore ${open.id} is ${stateWords[open.state]}`,
        hint: '`!restore undo` or `!restore finish` ends it.',
      });
    if (ofScripts === null) assertOpenable(ctx, `open ${args.backup}`);
    const { row, databaseAt, remarks } = await restores.check(rows, parts, args.signer ?? null, asClone);
    const facts = await stack.facts();
    return {
      targets: [{ id: `backup ${row.id}` }, { id: `destination ${row.destination}` }],
      changes: [
        [
          'load ',
          { strong: row.id },
          ' of ',
          { time: databaseAt },
          `${ofScripts === null ? ` from ${row.destination}` : ', which the scripts made and nobody proved,'} beside ${facts.serverName}: ${parts.join(', ')}`,
        ],
        ...(asClone ? [[cloneRemark]] : []),
        ...(open === null ? [] : [[`remove the copy of the restore ${open.id}, which is ${stateWords[open.state]}`]]),
      ],
      ...(remarks.length === 0 ? {} : { preview: remarks.map(hintLine) }),
      data: {
        backup: row.id,
        destinations: [row.destination, ...rows.map(({ destination }) => destination).filter((name) => name !== row.destination)],
        parts,
        asClone,
        replaces: open?.id ?? null,
        signer: args.signer ?? null,
      },
    };
  },

  async run(ctx, data, jobId) {
    const { restores, signal, progress } = ctx;
    const unlock = unlockerOf(ctx, jobId, `restore prepare ${data.backup}`);
    const prepareFrom = (destination: string): Promise<string> => {
      // A try that failed may have removed it already.
      const replaces = restores.open()?.id === data.replaces ? data.replaces : null;
      return restores.prepare({ ...data, destination, replaces }, unlock, signal, progress);
    };
    return { id: await fromFirst(data.destinations, prepareFrom) };
  },

  async readBack({ restores, stack }, data, note) {
    await restores.recover();
    const row = restores
      .list()
      .find(({ id, backup }) => (note['id'] === undefined ? backup === data.backup && id !== data.replaces : id === note['id']));
    if (row?.state !== 'prepared' || row.report === null) return null;
    if (row.parts.includes('database') && !(await stack.restores.databases(row.id)).prepared) return null;
    const { report } = row;
    return {
      id: row.id,
      backup: row.backup,
      destination: row.destination,
      parts: [...row.parts],
      databaseAt: new Date(report.databaseAt).toISOString(),
      tables: report.tables,
      proven: !report.remarks.includes(neverProven),
      rows: report.rows,
      media: report.media,
      mediaBytes: report.mediaBytes,
      mediaMissing: report.mediaMissing,
      files: [...report.files],
      remarks: [...report.remarks],
      seconds: report.seconds,
    };
  },

  reply: (result): Part[] => [
    text(
      { strong: 'Prepared' },
      ` the restore ${result.id} of the backup ${result.backup} in ${result.seconds} s. Nothing live was touched.`,
    ),
    fields(
      ['as of', [{ time: Date.parse(result.databaseAt) }]],
      [
        'database',
        result.tables === 0
          ? undefined
          : [`${result.rows} rows in ${count(result.tables, 'table')}${result.proven ? ', as they were proven' : ''}`],
      ],
      [
        'media to put back',
        result.parts.includes('media') ? [`${count(result.media, 'file')}, ${sizeText(result.mediaBytes)}`] : undefined,
      ],
      ['media that nobody has', result.mediaMissing === 0 ? undefined : [String(result.mediaMissing)]],
      ['files that change', result.files.length === 0 ? undefined : [{ code: result.files.join(' ') }]],
    ),
    ...(result.remarks.length === 0 ? [] : [list(result.remarks.map(hintLine))]),
    text(
      'Put it in place with ',
      { command: `restore cutover ${result.id}` },
      '; ',
      { command: `restore finish ${result.id}` },
      ' removes it.',
    ),
  ],
});
