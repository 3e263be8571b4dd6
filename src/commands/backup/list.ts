import { z } from 'zod';
import { code, table, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import type { CommandContext } from '../context.ts';
import { defineList } from '../define.ts';
import { isProven, isSafe, type Backup } from '../../backup/backups.ts';
import { holdsOf, scriptsPlace, type ScriptsBackup } from '../../backup/scripts/folder.ts';
import { dataAt } from '../../backup/outlook.ts';
import { pageArguments, pageOf } from '../paging.ts';
import { picture } from './picture.ts';
import { openableField, placed, placedShape } from './shared.ts';

const row = z.object({
  id: z.string(),
  /** Those that have it, the best proven first. */
  destinations: z.array(placedShape),
  safe: z.boolean(),
  databaseAt: z.string(),
  bytes: z.number(),
  contentLevel: z.number(),
  objectLevel: z.number().nullable(),
  provenAt: z.string().nullable(),
  openable: openableField,
  pinned: z.boolean(),
  madeBy: z.enum(['Steward', 'the scripts']),
  /** Of those of the scripts: what is in it; empty for one that the script did not finish. */
  holds: z.array(z.string()).nullable(),
});

export const backupList = defineList({
  name: 'backup list',
  summary: 'List backups, newest first, with where they are, and what is proven of their content and of what is stored.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject(pageArguments),
  result: row,
  examples: ['backup list', 'backup list --csv'],

  async *list({ backups }, args, all) {
    // Whether their folder can be read or not, Steward's own are listed.
    const ofScripts = (await backups.scripts?.list().catch(() => [])) ?? [];
    yield pageOf([...backups.grouped().map(ownRow), ...ofScripts.map(scriptsRow)], args, all, (found) => found);
  },

  reply: (page, args, ctx) => {
    const problem = ctx.backups.scripts?.problem ?? null;
    const told =
      problem === null
        ? []
        : [text(`The folder of the scripts’ backups, ${ctx.backups.scripts?.path ?? ''}, cannot be read (${problem}).`)];
    if (page.rows.length === 0)
      return [
        text(
          'The catalogue has no backups. ',
          { command: 'backup create' },
          ' makes one, ',
          { command: 'backup scan' },
          ' finds those that lie in the destinations.',
        ),
        ...told,
      ];
    const more = page.next == null ? [] : [text('More with ', { command: `backup list --limit=${args.limit} --from=${page.next}` }, '.')];
    const own = page.rows.filter(({ madeBy }) => madeBy === 'Steward');
    const ofScripts = page.rows.filter(({ madeBy }) => madeBy === 'the scripts');
    return [...(own.length === 0 ? [] : ownParts(own, ctx)), ...(ofScripts.length === 0 ? [] : scriptsParts(ofScripts)), ...told, ...more];
  },
});

type Row = z.output<typeof row>;

function ownRow(rows: [Backup, ...Backup[]]): Row {
  const [backup] = rows;
  return {
    id: backup.id,
    destinations: rows.map(placed),
    safe: isSafe(rows),
    databaseAt: new Date(backup.databaseAt ?? backup.startedAt).toISOString(),
    bytes: backup.bytes ?? 0,
    contentLevel: backup.contentLevel ?? 1,
    objectLevel: backup.objectLevel,
    provenAt: backup.provenAt === null ? null : new Date(backup.provenAt).toISOString(),
    openable: backup.isOpenable,
    pinned: rows.some(({ pinned }) => pinned),
    madeBy: 'Steward',
    holds: null,
  };
}

function scriptsRow(backup: ScriptsBackup): Row {
  return {
    id: backup.id,
    destinations: [{ name: scriptsPlace, objectLevel: null, pinned: false }],
    safe: false,
    databaseAt: new Date(backup.at).toISOString(),
    bytes: backup.bytes,
    contentLevel: 0,
    ...{ objectLevel: null, provenAt: null, openable: true, pinned: false },
    madeBy: 'the scripts',
    holds: backup.manifest === null ? [] : holdsOf(backup),
  };
}

function ownParts(rows: readonly Row[], ctx: CommandContext): Part[] {
  const { engine } = ctx.backups;
  const closed = rows.filter(({ openable }) => !openable).length;
  return [
    text({ strong: 'Backups' }, `: ${ctx.backups.grouped().length}`),
    ...(engine === null
      ? []
      : [
          text(
            `The database is held by ${engine.name}, as ${engine.server}; `,
            { command: 'server doctor' },
            ' tells how old its newest backup is.',
          ),
        ]),
    ...pictureParts(ctx),
    table(
      [{ title: 'Backup' }, { title: 'Taken' }, { title: 'Size', align: 'right' }, { title: 'Content' }, { title: 'Stored in' }],
      rows.map((backup): Line[] => [
        [{ code: backup.id }, `${backup.safe ? ' 🛡' : ''}${backup.pinned ? ' 📌' : ''}`],
        [{ time: Date.parse(backup.databaseAt) }],
        [sizeText(backup.bytes)],
        [`content L${backup.contentLevel}`],
        [
          backup.destinations
            .map(({ name, objectLevel }) => (objectLevel === null ? `❌ ${name} not proven` : `${name} L${objectLevel}`))
            .join(', '),
        ],
      ]),
    ),
    ...(closed === 0
      ? []
      : [text(`⚠️ ${closed} of these are not proven: nobody has shown to be able to open them. `, { command: 'backup keys' })]),
  ];
}

/** Apart from the others: nobody has proven them. */
function scriptsParts(rows: readonly Row[]): Part[] {
  return [
    text(
      { strong: 'Made by the scripts' },
      ', not encrypted and never proven; ',
      { command: 'backup verify ID' },
      ' reads one to its end:',
    ),
    table(
      [{ title: 'Backup' }, { title: 'Taken' }, { title: 'Size', align: 'right' }, { title: 'What is in it' }],
      rows.map((backup): Line[] => [
        [{ code: backup.id }],
        [{ time: Date.parse(backup.databaseAt) }],
        [sizeText(backup.bytes)],
        [backup.holds === null || backup.holds.length === 0 ? '❌ the script did not finish it' : backup.holds.join(', ')],
      ]),
    ),
  ];
}

/** All that there are, whichever page is asked for. */
function pictureParts({ backups, clock }: CommandContext): Part[] {
  const all = backups.grouped().map((rows) => ({ at: dataAt(rows[0]), bytes: rows[0].bytes ?? 0, proven: rows.some(isProven) }));
  return [
    code(picture(all, clock.now())),
    text('A character is 24 h: █ proven, ░ not proven, · none. A bar is what a backup added, ! is not proven.'),
  ];
}
