import { Failure } from '../failures/failure.ts';
import type { Stack } from '../stack/stack.ts';
import type { FileKey } from './age-payload.ts';
import type { Destination } from './destinations/destination.ts';
import type { Manifest, Proof } from './manifest.ts';
import { opened, sealInto, type SealedObject } from './object.ts';
import type { Tell } from './progress.ts';
import { assertSame, different, fingerprintOfAny, heldOf, noScratch, type Fingerprint, type Held } from './prove.ts';

/** The database of Matrix Authentication Service: accounts, passwords and sessions, where the homeserver leaves them to it. */

/** What a manifest names as left out, where Steward does not know where it is. */
export const masLeftOut = 'all of Matrix Authentication Service, which has the accounts';

type MasFacts = NonNullable<Manifest['server']['mas']>;

export interface SealedMas {
  name: string;
  pipeline: string[];
  sealed: SealedObject;
  fileKey: FileKey;
  facts: MasFacts;
  held: Fingerprint;
}

interface Around {
  stack: Stack;
  signal: AbortSignal;
  tell: Tell;
}

/**
 * Copies it, after the database of the homeserver: whose devices that has, is there.
 *
 * @returns null where there is none that Steward knows
 */
export async function backUpMas(
  { id, stack, signal, tell }: Around & { id: string },
  to: Parameters<typeof sealInto>[0],
  recipient: string,
): Promise<SealedMas | null> {
  const dump = await stack.dumpMas(signal);
  if (dump === null) return null;
  tell('the database of Matrix Authentication Service');
  const { stream, snapshot, pipeline, major, bytes } = dump;
  try {
    const name = `${id}/database/mas.dump.zst.age`;
    const sealed = await sealInto(to, name, stream, [recipient]);
    const held = await fingerprintOfAny(snapshot);
    return { name, pipeline: [...pipeline, 'age'], sealed, fileKey: sealed.fileKey, facts: { major, bytes }, held };
  } catch (error) {
    stream.abort();
    throw error;
  } finally {
    await snapshot.close();
  }
}

/** What it came to; `missing` says why it was only read to its end. */
export type MasTried = { missing: null; tables: number; rows: number } | { missing: string };

/** Right after it was sealed. @throws Failure `backup.not-proven`, `backup.unreadable` */
export async function proveMas(
  { name, fileKey, facts, held }: SealedMas,
  source: Destination,
  around: Around,
): Promise<{ missing: null; proven: NonNullable<Proof['content']['mas']> } | { missing: string }> {
  around.tell('the database of Matrix Authentication Service is compared');
  const data = (): AsyncIterable<Uint8Array> => opened(source.get(name), () => Promise.resolve(fileKey.key));
  const record = heldOf(held);
  const tried = await tryMas({ ...around, facts, data, held: record, schema: held.schema });
  if (tried.missing !== null) return tried;
  return { missing: null, proven: { tables: tried.tables, rows: tried.rows, held: record } };
}

/**
 * Loads it into a database that is thrown away, and compares; where there is none, reads it to its end.
 *
 * @param schema lines of what it held, where they are known
 * @throws Failure `backup.not-proven`, `backup.unreadable`
 */
export async function tryMas({
  stack,
  facts,
  data,
  held,
  schema,
  signal,
}: Pick<Around, 'stack' | 'signal'> & {
  facts: MasFacts;
  data: () => AsyncIterable<Uint8Array>;
  held: Held;
  schema?: readonly string[];
}): Promise<MasTried> {
  const place = await stack.openScratch('pg_dump', facts, signal).catch((error: unknown) => noScratch(error, signal));
  let missing: string;
  if (place.scratch === null) missing = place.reason;
  else {
    const { scratch } = place;
    try {
      await scratch.load(data(), signal);
      const loaded = await fingerprintOfAny(scratch);
      return { missing: null, ...assertSame(loaded, held, schema ?? loaded.schema) };
    } catch (error) {
      if (error instanceof Failure && error.id === 'backup.not-proven') throw different(`Matrix Authentication Service: ${error.reason}`);
      missing = noScratch(error, signal).reason;
    } finally {
      await scratch.close();
    }
  }
  await stack.readDump('pg_dump', data(), facts.major, signal);
  return { missing: `Matrix Authentication Service: ${missing}` };
}
