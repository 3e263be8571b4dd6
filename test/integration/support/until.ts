import { setTimeout as sleep } from 'node:timers/promises';

/** Asks every 50 ms until it is so. Errors: it never was within `ms`. */
export async function until<T>(look: () => Promise<T> | T, ms: number, what: string): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found as NonNullable<Exclude<T, false>>;
    await sleep(50);
  }
  throw new Error(`never within ${ms} ms: ${what}`);
}
