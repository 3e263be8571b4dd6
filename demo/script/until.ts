import { setTimeout as sleep } from 'node:timers/promises';

/** Looks again and again. @returns what was found, or null when `ms` are over */
export async function until<T>(look: () => T | null | undefined, ms: number): Promise<T | null> {
  const end = performance.now() + ms;
  for (;;) {
    const found = look();
    if (found !== undefined && found !== null) return found;
    if (performance.now() > end) return null;
    await sleep(20);
  }
}
