import { snapshotStore } from '../store/snapshot.ts';
import { serveThread } from '../stack/thread.ts';

/** Files, absolute. */
export interface StoreCopy {
  from: string;
  to: string;
}

// eslint-disable-next-line @typescript-eslint/require-await -- SQLite works without one
await serveThread<StoreCopy, never, null>(async function* ({ from, to }) {
  snapshotStore(from, to);
  return null;
});
