import { serveThread } from '../../../src/stack/thread.ts';

/** Gives back what comes, and counts it. Ends with the process's `exit` at the item of that number. */
await serveThread<{ dieAt: number }, Uint8Array, number>(async function* ({ dieAt }, items) {
  let count = 0;
  for await (const item of items) {
    if (count === dieAt) process.exit(3);
    yield Buffer.from(Buffer.from(item).toString('latin1'), 'latin1');
    count += 1;
  }
  return count;
});
