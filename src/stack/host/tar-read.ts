import { Failure } from '../../failures/failure.ts';

/** What tar-stream says of an archive that is cut, or is none, as a Failure `backup.unreadable`; anything else as it is. */
function cutArchive(error: unknown, attempted: string): unknown {
  if (!(error instanceof Error) || !/^(Invalid tar header|Invalid size|Unexpected end of data)/.test(error.message)) return error;
  return new Failure('backup.unreadable', { attempted, reason: `the archive is cut or damaged: ${error.message}`, cause: error });
}

/**
 * Why an archive could not be unpacked: what its source, or the reading of it, has said is more than what that made of who took its entries.
 *
 * @param feeding of the source into the archive
 */
export async function causeOf(feeding: Promise<void>, error: unknown, attempted: string): Promise<unknown> {
  const first: unknown = await feeding.then(
    () => error,
    (thrown: unknown) => cutArchive(thrown, attempted),
  );
  return first instanceof Failure ? first : cutArchive(error, attempted);
}

/** The content of an entry. As a stream, one of an archive that is cut tells `pipeline` nothing, which then waits for ever. */
export async function* piecesOf(entry: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  yield* entry as AsyncIterable<Uint8Array>;
}
