import { z } from 'zod';
import { code, text, type Part } from '../../reply/parts.ts';
import { defineWrite } from '../define.ts';
import { destinationArgument } from './shared.ts';
import { identitySecret, unlockerOf } from './unlocker.ts';

const names = z.array(z.string());
const report = z.object({
  destination: z.string(),
  backups: names,
  added: names,
  gone: names,
  foreign: names,
  damaged: names,
  missing: names,
  extra: names,
  sealed: z.number(),
});
type Report = z.output<typeof report>;

/** Names of each kind that an answer shows. */
const shown = 10;

export const backupScan = defineWrite({
  name: 'backup scan',
  summary: 'Make the catalogue anew from what lies in the destinations, and tell what does not belong there.',
  details: [
    'Manifests, proofs, packs of media and sealed keys are read; nothing in a destination is changed. Needed after a loss of the store, and when backups came or went without Steward.',
    'What is stored counts as proven again when `backup verify` has read it. Lists of media are sealed: where the catalogue lacks some, and Steward has no key, an admin is asked for one. Without it the next backup copies the media anew.',
  ],
  tier: 'change',
  lock: 'backup',
  bulk: false,
  again: true,
  args: z.strictObject({ from: destinationArgument.describe('Name of the only destination; each when left out.') }),
  secrets: { identity: identitySecret },
  result: z.object({ destinations: z.array(report) }),
  examples: ['backup scan'],

  plan({ backups }, args) {
    const destinations = backups.destinations(args.from);
    return Promise.resolve({
      targets: destinations.map(({ name }) => ({ id: `destination ${name}` })),
      changes: destinations.map(({ name, place }) => [`make the catalogue of ${name} anew from `, { code: place }]),
      data: { destinations: destinations.map(({ name }) => name) },
    });
  },

  async run(ctx, { destinations }, jobId) {
    const { backups, config, signal, progress } = ctx;
    const unlock = unlockerOf(ctx, jobId, 'backup scan');
    const reports: Report[] = [];
    const failed: unknown[] = [];
    for (const name of destinations) {
      progress(name);
      try {
        reports.push(await backups.scan(backups.destination(name), config.homeserver?.serverName ?? null, unlock, signal));
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length > 0) throw failed[0];
    return { reports };
  },

  async readBack({ backups }, { destinations }, note) {
    const reports = note['reports'] as Report[] | undefined;
    if (reports === undefined) return null;
    const rows = backups.list();
    for (const { destination, backups: ids } of reports)
      if (!ids.every((id) => rows.some((row) => row.id === id && row.destination === destination))) return null;
    return Promise.resolve({ destinations: reports.filter(({ destination }) => destinations.includes(destination)) });
  },

  reply: (result): Part[] => result.destinations.flatMap(partsOf),
});

function partsOf(found: Report): Part[] {
  const told: [keyof Report & ('added' | 'gone' | 'foreign' | 'damaged' | 'missing' | 'extra'), string][] = [
    ['added', 'that the catalogue had not'],
    ['gone', 'that the catalogue had, and that are gone'],
    ['foreign', 'that another Steward signed, or of another homeserver; not taken'],
    ['damaged', 'whose manifest cannot be read; not taken'],
    ['missing', 'objects that a backup names, and that are not there as it says: `backup copy` from another destination mends it'],
    ['extra', 'objects that no backup names; nothing was removed'],
  ];
  return [
    text({ strong: found.destination }, `: ${found.backups.length} backups.`),
    ...told.flatMap(([kind, words]): Part[] => {
      const all = found[kind];
      if (all.length === 0) return [];
      const more = all.length > shown ? [`… and ${all.length - shown} more`] : [];
      return [text(`${all.length} ${words}:`), code([...all.slice(0, shown), ...more].join('\n'))];
    }),
    ...(found.added.length === 0
      ? []
      : [text('What was added is not proven before it is read: ', { command: `backup verify latest --from ${found.destination}` }, '.')]),
    ...(found.sealed === 0
      ? []
      : [text(`${found.sealed} lists of media could not be opened without a key: the next backup copies those media anew.`)]),
  ];
}
