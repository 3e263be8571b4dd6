import { expect, test } from '@jest/globals';
import { compareWith, heldOf, type Fingerprint } from '../../src/backup/prove.ts';

const fingerprint = (more: Partial<Fingerprint> = {}): Fingerprint => ({
  rows: new Map([
    ['users', 2],
    ['e2e_one_time_keys_json', 5],
  ]),
  schema: ['users.name text', 'events.id bigint'],
  sequences: new Map([['events_stream_seq', 7n]]),
  ...more,
});
/** As a dump of it is loaded: no one-time keys, sorted by another collation, sequences as late or later. */
const loaded = fingerprint({
  rows: new Map([
    ['users', 2],
    ['e2e_one_time_keys_json', 0],
  ]),
  schema: ['events.id bigint', 'users.name text'],
  sequences: new Map([['events_stream_seq', 8n]]),
});
const nothing = { rows: () => Promise.resolve([]) };
const held = heldOf(fingerprint());

test('what was loaded is what a record says that the database held', async () => {
  expect(await compareWith(loaded, held, nothing, 'pg_dump')).toEqual({ tables: 2, rows: 2 });
  expect(JSON.parse(JSON.stringify(held))).toEqual(held);
});

test.each<[string, Fingerprint, string]>([
  ['a row less', { ...loaded, rows: new Map([...loaded.rows, ['users', 1]]) }, 'users has 1 rows of 2'],
  ['a one-time key', { ...loaded, rows: new Map([...loaded.rows, ['e2e_one_time_keys_json', 1]]) }, 'has 1 rows of 0'],
  ['a table less', { ...loaded, rows: new Map([['e2e_one_time_keys_json', 0]]) }, 'it lacks the table users'],
  ['another column', { ...loaded, schema: ['users.name text'] }, 'its schema is another one'],
  ['a sequence that is behind', { ...loaded, sequences: new Map([['events_stream_seq', 6n]]) }, 'events_stream_seq is at 6, before 7'],
  ['a sequence less', { ...loaded, sequences: new Map() }, 'events_stream_seq is at undefined'],
])('%s is told', async (_what, found, reason) => {
  await expect(compareWith(found, held, nothing, 'pg_dump')).rejects.toMatchObject({
    id: 'backup.not-proven',
    reason: expect.stringContaining(reason),
  });
});
