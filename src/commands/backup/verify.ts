import { z } from 'zod';
import { isIntact, type Backups } from '../../backup/backups.ts';
import type { ScriptsContent } from '../../backup/scripts/content.ts';
import { scriptsPlace, type ScriptsBackup } from '../../backup/scripts/folder.ts';
import { Failure } from '../../failures/failure.ts';
import type { FailureId } from '../../failures/table.ts';
import { fields, list, text, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import type { PlanItem } from '../../workflow/plan.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument, objectFound, objectWords, openedOf, openedPart, openedShape } from './shared.ts';
import { assertOpenable, identitySecret, unlockerOf } from './unlocker.ts';

type Opened = z.output<typeof openedShape>;
/** Of a destination that has not what was written: why. */
type Found = Opened | { destination: string; failure: Failure };

const levels = ['0', '1', '2', '3', '4'] as const;

export const backupVerify = defineWrite({
  name: 'backup verify',
  summary: 'Read a stored backup again, in each destination, and say whether it is still what was written.',
  details: [
    'Level 0: every object is there, with its size, and no other. Level 1: each is read and hashed. Level 2: each is opened, its content hashed, and the dump read to its end. Level 3: the dump is loaded into a database that is thrown away, and compared with what the homeserver held. Level 4: every file of the media is hashed, and held against that database. `backup drill` goes on from there: it starts a homeserver on it.',
    'A backup that the scripts made is always read to its end: the dump to its last line, archives whole, hashes where the script wrote some.',
    'Level 2 and more need a key. Where Steward has none (`backup.keys.identity_file`), `--level 2` asks an admin for it; without a level it is 2 where Steward has a key, else 1.',
    'Each destination that has it is looked at and told apart; `--from` names one.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  again: true,
  args: z.strictObject({
    backup: backupArgument,
    from: destinationArgument.describe('Name of the only destination; each that has it when left out.'),
    level: z
      .enum(levels, `one of ${levels.join(', ')}`)
      .optional()
      .describe('How far; 2 where Steward has a key, else 1, when left out.')
      .meta({ value: 'LEVEL' }),
  }),
  secrets: { identity: identitySecret },
  result: z.object({ id: z.string(), destinations: z.array(openedShape), checks: z.array(z.string()) }),
  examples: ['backup verify latest', 'backup verify latest --level 1'],

  async plan(ctx, args) {
    const { backups } = ctx;
    const ofScripts = await backups.ofScripts(args.backup, args.from);
    if (ofScripts !== null) return planOfScripts(ofScripts, args.level);
    const rows = backups.all(args.backup, args.from);
    const [{ id }] = rows;
    const usual = backups.keys.mode === 'mounted' ? 2 : 1;
    const level = (args.level === undefined ? usual : Number(args.level)) as 0 | 1 | 2 | 3 | 4;
    if (level > 1) assertOpenable(ctx, `open ${id}`);
    const destinations = rows.map(({ destination }) => destination);
    return {
      targets: [{ id: `backup ${id}` }, ...destinations.map((name) => ({ id: `destination ${name}` }))],
      changes: destinations.map((name) => ['verify ', { strong: id }, ` in ${name} at level ${level}: ${objectWords[level] ?? ''}`]),
      data: { id, destinations, level },
    };
  },

  async run(ctx, { id, destinations, level }, jobId) {
    const { backups, signal, progress } = ctx;
    if (destinations.includes(scriptsPlace)) return { scripts: await backups.readScripts(id, signal, progress) };
    // Of a copy in another destination the keys are the same: nobody is asked twice.
    const unlock = unlockerOf(ctx, jobId, `backup verify ${id}`);
    const found: Found[] = [];
    for (const destination of destinations) {
      try {
        const row = backups.find(id, destination);
        found.push(openedOf(await backups.verify(row, level, unlock, ctx), row));
      } catch (error) {
        signal.throwIfAborted();
        // A stop while keys are waited for, which the next start goes on from, or a bug.
        if (!(error instanceof Failure)) throw error;
        if (error.id === 'backup.no-key' || error.id === 'job.cancelled') throw error;
        if (destinations.length === 1) throw withMend(error, backups, id, destination);
        found.push({ destination, failure: error });
      }
    }
    assertAll(id, found, backups);
    return { found };
  },

  async readBack({ backups }, { id, destinations }, note) {
    if (destinations.includes(scriptsPlace))
      return resultOfScripts(await backups.scripts?.get(id), note['scripts'] as ScriptsContent | undefined);
    const found = note['found'] as Opened[] | undefined;
    // One that a crash has cut off has looked at nothing, whatever was found before it.
    const isKnown = (each: Opened): boolean =>
      each.objectLevel === 0 || (backups.find(id, each.destination).objectLevel ?? -1) >= each.objectLevel;
    return found?.length === destinations.length && found.every(isKnown) ? { id, destinations: found, checks: [] } : null;
  },

  reply: ({ id, destinations, checks }): Part[] => [
    ...destinations.flatMap((each) => (each.destination === scriptsPlace ? [ofScriptsPart(id, each)] : partsOf(id, each))),
    ...(checks.length === 0 ? [] : [list(checks.map((check) => [check]))]),
  ],
});

function ofScriptsPart(id: string, { objectLevel, objects, bytes }: Opened): Part {
  return text(
    { strong: id },
    `, which the scripts made, can be read: L${objectLevel}, ${objectWords[objectLevel] ?? ''} (${objects} files, ${sizeText(bytes)}). Nobody has compared it with the database that it was made of.`,
  );
}

function partsOf(id: string, each: Opened): Part[] {
  return [
    openedPart(id, each),
    ...(each.objectLevel < 3 && each.media === null
      ? []
      : [
          fields(
            ['database', [`${each.rows} rows in ${each.tables} tables`]],
            ['media', each.media === null ? undefined : [`${each.media} files`]],
            ['media without a file', (each.mediaMissing ?? 0) === 0 ? undefined : [String(each.mediaMissing)]],
            ['media that are not what the database says', (each.mediaWrong ?? 0) === 0 ? undefined : [String(each.mediaWrong)]],
          ),
        ]),
  ];
}

function planOfScripts(
  { id, bytes }: ScriptsBackup,
  level: string | undefined,
): PlanItem<{ id: string; destinations: string[]; level: 0 | 1 | 2 | 3 | 4 }> {
  if (level !== undefined && level !== '2')
    throw new Failure('usage.invalid-value', { reason: 'a backup of the scripts is read to its end, which is level 2, or not at all' });
  return {
    targets: [{ id: `backup ${id}` }, { id: `destination ${scriptsPlace}` }],
    changes: [['read ', { strong: id }, ` of the scripts, ${sizeText(bytes)}, to its end`]],
    data: { id, destinations: [scriptsPlace], level: 2 },
  };
}

function resultOfScripts(backup: ScriptsBackup | null | undefined, content: ScriptsContent | undefined) {
  if (backup == null || content === undefined) return null;
  const { summary, media, hashed } = content;
  return {
    id: backup.id,
    destinations: [
      {
        ...{ destination: scriptsPlace, objectLevel: 2, missing: null, tables: 0, rows: 0 },
        ...{ objects: backup.files.length, bytes: backup.bytes, media: null, mediaMissing: null, mediaWrong: null },
      },
    ],
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

/** @throws Failure of the first destination that has not what was written, saying what was found in each */
function assertAll(id: string, found: readonly Found[], backups: Backups): void {
  const first = found.find((each) => 'failure' in each);
  if (first === undefined) return;
  const told = found.map((each) =>
    'failure' in each
      ? `${each.destination}: ${wordsOf(each.failure, id, each.destination)}`
      : `${each.destination} ${objectFound(each.objectLevel)}`,
  );
  const hints = found.flatMap((each) => ('failure' in each ? withMend(each.failure, backups, id, each.destination).hint : []));
  throw new Failure(first.failure.id, {
    attempted: `verify ${id}`,
    reason: told.join('; '),
    hint: [...new Set(hints)].join(' '),
    cause: first.failure,
  });
}

/** What failed, without what is said beside it. */
function wordsOf({ attempted, reason }: Failure, id: string, destination: string): string {
  const what = attempted?.replace(` in ${destination}`, '');
  return what === undefined || what === `verify ${id}` ? reason : `cannot ${what}: ${reason}`;
}

/** The failure of one copy, saying how it is mended where another place has it whole. */
function withMend(failure: Failure, backups: Backups, id: string, destination: string): Failure {
  const sound = backups.all(id).filter((row) => row.destination !== destination && isIntact(row));
  const isUsual = failure.hint === new Failure(failure.id).hint;
  const [source] = sound;
  if (source === undefined || !isUsual || !mendable.includes(failure.id)) return failure;
  const { attempted, reason } = failure;
  return new Failure(failure.id, {
    ...(attempted === undefined ? {} : { attempted }),
    reason,
    hint: `Restore from ${source.destination}; \`!backup copy ${id} --to ${destination}\` puts what is damaged or missing there again.`,
    cause: failure,
  });
}

/** What `backup copy` puts right. */
const mendable: readonly FailureId[] = ['backup.damaged', 'backup.missing', 'backup.not-found'];
