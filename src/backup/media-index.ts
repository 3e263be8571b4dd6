import { Failure } from '../failures/failure.ts';
import type { MediaFile } from '../stack/stack.ts';

const lineAtMost = 4096;

/** What a list of a pack's files holds. @throws Failure `backup.damaged` */
export async function* indexLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<MediaFile> {
  let waiting = '';
  const decoder = new TextDecoder();
  for await (const chunk of chunks) {
    const lines = (waiting + decoder.decode(chunk, { stream: true })).split('\n');
    waiting = lines.pop() ?? '';
    if (waiting.length > lineAtMost)
      throw new Failure('backup.damaged', { attempted: 'read a list of media', reason: 'a line of it is far too long' });
    for (const line of lines) if (line !== '') yield JSON.parse(line) as MediaFile;
  }
}

/** Of a path such as `local_content/aa/bb/rest`. */
export function mediaIdOf(path: string): string {
  return path.split('/').slice(1, 4).join('');
}
