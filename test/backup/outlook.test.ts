import { describe, expect, test } from '@jest/globals';
import type { Backup } from '../../src/backup/backups.ts';
import { outlook, outlookText } from '../../src/backup/outlook.ts';
import { isProvenWhole, type Drilled, type Measured } from '../../src/backup/runs.ts';
import type { PreparedReport, RestoreRow } from '../../src/store/restores.ts';

const minute = 60_000;
const hour = 60 * minute;
const now = Date.UTC(2026, 10, 25, 8);

const row = (id: string, hoursAgo: number, contentLevel = 3, objectLevel: number | null = 1): Backup => ({
  ...{ id, destination: 'disk', state: 'complete', startedAt: now, finishedAt: now, bytes: 1, manifest: '', provenAt: now, pinned: false },
  ...{ databaseAt: now - hoursAgo * hour, contentLevel, objectLevel, epochs: ['2026-11'], isOpenable: true },
});
const made = (id: string, more: Partial<Measured> = {}): Measured => ({
  ...{ id, destinations: [{ name: 'disk', objectLevel: 1 }], bytes: 1e9, databaseBytes: 1e9, mediaBytes: 0, contentLevel: 3 },
  ...{ seconds: 100, proofSeconds: 840, openable: true },
  ...more,
});
const restore = (backup: string, seconds: number, downtime: number | null): RestoreRow => ({
  ...{ id: `of-${backup}`, backup, destination: 'disk', state: 'live', step: null, parts: ['database'], startedAt: 0, changedAt: 0 },
  ...{ cutOverAt: 0, downtime, report: { seconds } as PreparedReport, probe: null },
});

/** Of 1 GB of dump in 6 min, 1 GB of media in 100 s, a start in 3 min. */
const drill = (id: string, at: number): Drilled => ({
  ...{ id, at: new Date(at).toISOString(), objectLevel: 5, isolation: '', users: 1, rooms: 1, roomState: 1, probedMedia: true },
  ...{ databaseBytes: 1e9, mediaBytes: 1e9 },
  phases: Object.entries({ 'load the database': 300, 'compare it': 60, 'read the media': 100, 'start Synapse': 180 }).map(
    ([name, seconds]) => ({ name, seconds }),
  ),
});

describe('what a restore now would come to', () => {
  test.each<[string, Backup[], Measured[], RestoreRow[], string, string, Drilled[]?]>([
    ['by the proof', [row('b', 6)], [made('b')], [], 'A restore now would take 14 min and lose 6 h.', 'the proof of b'],
    [
      'by a restore that was done, in proportion to the size, with its swap',
      [row('b', 6)],
      [made('b', { databaseBytes: 2e9 }), made('a')],
      [restore('a', 300, 60_000)],
      'A restore now would take 11 min and lose 6 h.',
      'the restore of a, the swap of of-a',
    ],
    [
      'with media at the pace of the largest backup',
      [row('b', 6)],
      [made('b', { proofSeconds: 60, bytes: 1e6, seconds: 50, mediaBytes: 6e9 }), made('a')],
      [],
      'A restore now would take 11 min and lose 6 h.',
      'the proof of b, 6.0 GB of media at 10.0 MB/s',
    ],
    [
      'with media of the newest one that ended well, where the one that would be taken did not, such as in one place of two',
      [row('c', 6)],
      [made('b', { mediaBytes: 6e9 })],
      [],
      'A restore now would take 24 min and lose 6 h.',
      'the proof of b, 6.0 GB of media at 10.0 MB/s',
    ],
    [
      'from the newest proven one',
      [row('c', 1, 2), row('b', 30)],
      [made('c'), made('b')],
      [],
      'A restore now would take 14 min and lose 30 h.',
      'the proof of b',
    ],
    [
      'by a drill that is newer than the last restore, in proportion to the size, with its pace of media and its start',
      [row('b', 6)],
      [made('b', { databaseBytes: 2e9, mediaBytes: 6e9 }), made('a', { bytes: 9e9 })],
      [restore('a', 30, null)],
      'A restore now would take 25 min and lose 6 h.',
      'the drill of a, 6.0 GB of media at 10.0 MB/s, its start',
      [drill('a', 1)],
    ],
    [
      'by a restore that is newer than the last drill',
      [row('b', 6)],
      [made('b', { mediaBytes: 0 }), made('a')],
      [restore('a', 300, 60_000)],
      'A restore now would take 6 min and lose 6 h.',
      'the restore of a, the swap of of-a',
      [drill('a', -1)],
    ],
    [
      'of which nothing was measured',
      [row('b', 6)],
      [],
      [],
      'A restore now would take a time that nobody has measured yet and lose 6 h.',
      '',
    ],
    [
      'where none is proven',
      [row('b', 6, 3, null)],
      [made('b')],
      [],
      'Nobody knows what a restore now would bring: no backup is proven.',
      '',
    ],
  ])('%s', (_name, rows, runs, restores, sentence, by, tried = []) => {
    const found = outlook(rows, runs, restores, tried, now);
    expect([outlookText(found), found.by]).toEqual([sentence, by]);
  });
});

test.each<[string, Partial<Measured>, boolean]>([
  ['both axes', {}, true],
  ['content at L2', { contentLevel: 2 }, false],
  ['objects not read again', { destinations: [{ name: 'disk', objectLevel: null }] }, false],
  [
    'one of two destinations not read again',
    {
      destinations: [
        { name: 'a', objectLevel: 1 },
        { name: 'b', objectLevel: 0 },
      ],
    },
    false,
  ],
  ['nowhere', { destinations: [] }, false],
  ['that nobody can open', { openable: false }, false],
])('a heartbeat is due for a backup that is proven whole: %s', (_name, more, due) => {
  expect(isProvenWhole(made('b', more))).toBe(due);
});
