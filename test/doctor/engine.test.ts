import { expect, test } from '@jest/globals';
import type { Engine, EngineBackup } from '../../src/backup/engines/engine.ts';
import { lookAtEngine } from '../../src/doctor/engine.ts';

const hour = 3_600_000;
const now = 100 * hour;

const engine = (...list: EngineBackup[]): Engine => ({
  name: 'pgBackRest',
  server: 'main',
  list: () => Promise.resolve(list),
  create: () => Promise.resolve(),
  restoreLine: (label) => label,
});
const made = (hours: number, problem: string | null = null): EngineBackup => ({ label: 'L', at: now - hours * hour, bytes: 1, problem });
const look = (of: Engine | null, bytes: number | null = null) =>
  lookAtEngine({ engine: of, fresh: 26 * hour, from: 300e9, databaseBytes: () => Promise.resolve(bytes) }, now);

test.each([
  ['a young one', engine(made(25)), 'ok', /is 1 d old/],
  ['one that is too old', engine(made(27)), 'fail', /is 1 d 3 h old|is 27 h old|is 1 d old/],
  ['one with a fault', engine(made(1, 'bad pages')), 'fail', /bad pages/],
  ['none', engine(), 'fail', /no backup of main/],
])('%s', async (_what, of, state, detail) => {
  const found = await look(of);
  expect(found).toMatchObject({ state, detail: expect.stringMatching(detail) });
});

test('where there is none, it is advised from a size of the database on', async () => {
  expect(await look(null, 299e9)).toMatchObject({ state: 'ok' });
  expect(await look(null, 300e9)).toMatchObject({ state: 'warn', detail: expect.stringContaining('300 GB') });
  expect(await look(null, null)).toMatchObject({ state: 'skipped' });
  expect(await lookAtEngine(undefined, now)).toMatchObject({ state: 'skipped' });
});
