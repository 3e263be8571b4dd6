import type { Writable } from 'node:stream';
import { Failure } from '../failures/failure.ts';

/** Where text goes, no faster than it is read. */
export interface Output {
  stream: Writable & { isTTY?: boolean };
  /**
   * Resolves when the text is handed over.
   *
   * @returns false when nobody reads any more (`… | head`)
   * @throws Failure `store.unwritable` when it cannot be written for another reason
   */
  write(text: string): Promise<boolean>;
}

export function openOutput(stream: Output['stream']): Output {
  // The reason arrives with the write that failed.
  stream.on('error', () => undefined);
  return {
    stream,
    write: (text) =>
      new Promise((resolve, reject) => {
        stream.write(text, (error) => {
          const { code } = (error ?? {}) as NodeJS.ErrnoException;
          if (error == null) resolve(true);
          else if (code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED') resolve(false);
          else
            reject(
              new Failure('store.unwritable', {
                attempted: 'write the answer',
                reason: `standard output cannot be written (${code ?? 'unknown'})`,
                hint: 'Is the disk full?',
                cause: error,
              }),
            );
        });
      }),
  };
}
