import type { Clock } from '../clock.ts';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';

/** How patient a channel is. */
export interface Patience {
  clock: Clock;
  /** For one attempt. */
  timeoutMs?: number;
  /** Waits before the second and the third attempt. */
  delaysMs?: readonly number[];
}

export interface Sent {
  method: 'GET' | 'POST';
  url: Secret;
  headers: Readonly<Record<string, string>>;
  /** JSON, or null for none. */
  body: string | null;
  /** After "cannot". */
  attempted: string;
}

/** Posts JSON to an address that is a secret, as `sendPatiently` does. */
export function postPatiently(posted: Omit<Sent, 'method'>, patience: Patience, signal: AbortSignal): Promise<void> {
  return sendPatiently({ method: 'POST', ...posted }, patience, signal);
}

/**
 * Asks an address that is a secret. Redirects are not followed. Retries on network errors, 429 and 5xx.
 *
 * @throws Failure `alert.not-delivered`
 */
export async function sendPatiently(
  sent: Sent,
  { clock, timeoutMs = 10_000, delaysMs = [1000, 5000] }: Patience,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const outcome = await sendOnce(sent, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
    if (outcome === 'taken') return;
    const delay = delaysMs[attempt];
    if (!outcome.retry || delay === undefined || signal.aborted)
      throw new Failure('alert.not-delivered', { attempted: sent.attempted, reason: outcome.reason });
    await clock.sleep(delay, signal);
  }
}

/** The address may be in a fetch error's message, so that only its code is kept. */
async function sendOnce({ method, url, headers, body }: Sent, signal: AbortSignal): Promise<'taken' | { reason: string; retry: boolean }> {
  try {
    const response = await fetch(url.reveal(), {
      method,
      headers: { ...headers, ...(body === null ? {} : { 'content-type': 'application/json' }) },
      body,
      redirect: 'manual',
      signal,
    });
    await response.body?.cancel();
    if (response.ok) return 'taken';
    return { reason: `it answered ${response.status}`, retry: response.status === 429 || response.status >= 500 };
  } catch (error) {
    if (signal.aborted) return { reason: 'it did not answer in time', retry: true };
    const code = (error as { cause?: { code?: unknown } }).cause?.code;
    const reached = typeof code === 'string' && !code.startsWith('ERR_');
    return { reason: reached ? `it cannot be reached (${code})` : 'its address is not valid', retry: reached };
  }
}
