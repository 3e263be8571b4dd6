import { z } from 'zod';
import { Failure } from '../../failures/failure.ts';
import { fields, text, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import { showDuration } from '../../reply/time.ts';
import { drilled, drillCommand } from '../../backup/runs.ts';
import { defineWrite } from '../define.ts';
import { backupArgument, destinationArgument, openedOf, openedPart, openedShape } from './shared.ts';
import { assertOpenable, identitySecret, unlockerOf } from './unlocker.ts';

export const backupDrill = defineWrite({
  name: drillCommand,
  summary:
    'Restore a stored backup into a database that is thrown away, start a homeserver on it without a network, log in, and say how long each step took.',
  details: [
    'Every object is opened, the dump is loaded and compared, every file of the media hashed and held against the database. Then Synapse is started on the copy: it listens on a socket of its own alone, in a network without a way out, knows no other server, and has a signing key made for it. An account is made there; it logs in and reads accounts, rooms, the state of a room and a file.',
    'Nothing live is touched, and nothing of it is left. What it took is what "a restore now would take" is reckoned by.',
    'It needs a key. Where Steward has none (`backup.keys.identity_file`), an admin is asked.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  again: true,
  args: z.strictObject({
    backup: backupArgument.default('latest').describe('Which backup; the newest when left out.').meta({ positional: 0, value: 'BACKUP' }),
    from: destinationArgument,
  }),
  secrets: { identity: identitySecret },
  result: openedShape.extend(drilled.shape),
  examples: ['backup drill', 'backup drill latest'],

  async plan(ctx, args) {
    const { backups, stack } = ctx;
    const row = backups.find(args.backup, args.from);
    const attempted = `try ${row.id}`;
    assertOpenable(ctx, attempted);
    const { manifest } = await backups.read(row.id, backups.destination(row.destination));
    const { kind, major } = manifest.server.database;
    if (kind === 'engine')
      throw new Failure('stack.scratch-failed', {
        attempted,
        reason: 'its database is held by another engine',
        hint: 'Restore it with that engine elsewhere; `backup verify` looks at the rest.',
      });
    const missing = await stack.missingForBoot(kind, major);
    if (missing !== null)
      throw new Failure('stack.no-program', {
        attempted,
        reason: missing,
        hint: 'Install it on this machine, or name it: `stack.synapse_python`, `stack.postgres_programs`.',
      });
    return {
      targets: [{ id: `backup ${row.id}` }, { id: `destination ${row.destination}` }],
      changes: [
        ['restore ', { strong: row.id }, ` from ${row.destination} into a database that is thrown away`],
        ['start Synapse on it, without a network, as nobody but Steward can reach it, and log in there'],
      ],
      data: { id: row.id, destination: row.destination },
    };
  },

  async run(ctx, { id, destination }, jobId) {
    const { backups, clock } = ctx;
    const row = backups.find(id, destination);
    const found = await backups.verify(row, 5, unlockerOf(ctx, jobId, `${drillCommand} ${id}`), ctx);
    // There was no room for a database.
    if (found.probed === null) throw new Failure('stack.scratch-failed', { attempted: `try ${id}`, reason: found.missing ?? '' });
    const { manifest, isolation, phases, probed, media } = found;
    return {
      drilled: {
        ...openedOf(found, row),
        ...{ id, at: new Date(clock.now()).toISOString(), isolation: isolation ?? '', phases, ...probed },
        databaseBytes: manifest.objects.find(({ role }) => role === 'database')?.stored.bytes ?? 0,
        mediaBytes: media?.bytes ?? 0,
      },
    };
  },

  readBack({ backups }, { id, destination }, note) {
    const found = note['drilled'] as z.output<typeof drilled> | undefined;
    // One that a crash has cut off has shown nothing.
    if (found === undefined || (backups.find(id, destination).objectLevel ?? -1) < found.objectLevel) return Promise.resolve(null);
    return Promise.resolve(found as z.output<typeof openedShape> & z.output<typeof drilled>);
  },

  reply: (result): Part[] => [
    openedPart(result.id, result),
    text(
      `Synapse ran on it ${result.isolation}; an account logged in and read `,
      `${result.users} accounts, ${result.rooms} rooms`,
      result.roomState === null ? '' : `, the ${result.roomState} events of a room’s state`,
      result.probedMedia ? ' and a file.' : '.',
    ),
    fields(
      ['database', [`${result.rows} rows in ${result.tables} tables`]],
      ['media', [`${result.media ?? 0} files, ${sizeText(result.mediaBytes)}`]],
      ['media without a file', (result.mediaMissing ?? 0) === 0 ? undefined : [String(result.mediaMissing)]],
      ['media that are not what the database says', (result.mediaWrong ?? 0) === 0 ? undefined : [String(result.mediaWrong)]],
      ...result.phases.map(({ name, seconds }): [string, string[]] => [
        name,
        [seconds < 120 ? `${seconds} s` : showDuration(seconds * 1000)],
      ]),
    ),
    text('Nothing of it is left.'),
  ],
});
