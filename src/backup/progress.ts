import type { Clock } from '../clock.ts';
import { sizeText } from '../reply/size.ts';
import type { DatabaseDump, DumpProgress } from '../stack/stack.ts';

/** Tells those who wait what is done now, in words. */
export type Tell = (words: string) => void;

/** Milliseconds between two questions to the database how far its dump is. */
const every = 3000;

/** Tells how far a dump is until `signal` aborts. What cannot be asked now is asked again. */
export async function tellOfDump(dump: Pick<DatabaseDump, 'progress'>, tell: Tell, clock: Clock, signal: AbortSignal): Promise<void> {
  for (let now: DumpProgress | null = null; ;) {
    tell(now === null ? 'the database' : `the database, about ${Math.floor(now.share * 100)} %: ${now.table}, ${sizeText(now.bytes)}`);
    await clock.sleep(every, signal);
    if (signal.aborted) return;
    now = await dump.progress().catch(() => null);
  }
}
