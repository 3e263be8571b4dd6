import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '../../failures/failure.ts';
import type { DatabaseDump, DatabaseSource, Snapshot } from '../../stack/stack.ts';
import { ownOutput } from '../../stack/stream.ts';
import type { Tell } from '../progress.ts';
import { Barman } from './barman.ts';
import type { Engine, EngineBackup } from './engine.ts';
import { PgBackRest } from './pgbackrest.ts';

export interface EngineSettings {
  engine: 'pgbackrest' | 'barman';
  server: string;
  command?: readonly string[] | undefined;
  /** Milliseconds after which its newest backup is too old. */
  fresh: number;
}

export function engineOf({ engine, server, command }: EngineSettings): Engine {
  return engine === 'pgbackrest' ? new PgBackRest(server, command ?? ['pgbackrest']) : new Barman(server, command ?? ['barman']);
}

/**
 * Has the engine make a backup.
 *
 * @returns that one: it is whole, and the newest that the engine has
 * @throws Failure `backup.engine-failed`
 */
export async function backUpByEngine(engine: Engine, signal: AbortSignal): Promise<EngineBackup> {
  const attempted = `back up ${engine.server} with ${engine.name}`;
  const before = new Set((await engine.list(signal)).map(({ label }) => label));
  await engine.create(signal);
  // Not the first: Barman names them by the time of day, which comes twice in autumn.
  const newest = (await engine.list(signal)).find(({ label }) => !before.has(label));
  if (newest === undefined)
    throw new Failure('backup.engine-failed', { attempted, reason: 'it said that it had made one, and lists none that is new' });
  if (newest.problem !== null) throw new Failure('backup.engine-failed', { attempted, reason: `${newest.label}: ${newest.problem}` });
  return newest;
}

/** Nothing is counted of what the engine holds. */
const noView: Snapshot = {
  rows: () => Promise.resolve([]),
  batches: async function* () {
    yield await Promise.resolve([]);
  },
  close: () => Promise.resolve(),
};

/** A database that the engine copies: what a backup has of it is the record of that copy. */
export function heldByEngine(engine: Engine, tell: Tell): DatabaseSource {
  let label = '';
  return {
    async dumpDatabase(signal): Promise<DatabaseDump> {
      tell(`${engine.name} copies the database`);
      const made = await backUpByEngine(engine, signal);
      label = made.label;
      const record = { name: engine.name, server: engine.server, label, restore: engine.restoreLine(label) };
      const text = Buffer.from(`${JSON.stringify({ ...record, at: new Date(made.at).toISOString(), bytes: made.bytes }, null, 2)}\n`);
      return {
        stream: ownOutput(engine.name, () => [text], signal),
        snapshot: noView,
        format: 'engine',
        pipeline: ['JSON'],
        progress: () => Promise.resolve(null),
        engine: record,
      };
    },
    openScratch: () =>
      Promise.resolve({
        scratch: null,
        reason: `the database is held by ${engine.name}, as ${label} of ${engine.server}: Steward has only seen it listed`,
      }),
    readDump: (_format, data) => pipeline(data, new Writable({ write: (_chunk, _encoding, done) => done() })),
  };
}
