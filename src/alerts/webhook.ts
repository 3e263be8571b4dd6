import type { Clock } from '../clock.ts';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { Alert, AlertChannel } from './channel.ts';

export interface WebhookOptions {
  url: Secret;
  clock: Clock;
  /** For one attempt. */
  timeoutMs?: number;
  /** Waits before the second and the third attempt. */
  delaysMs?: readonly number[];
}

/**
 * Posts `{id, severity, title, body, at, text}` as JSON, `at` in ISO 8601. `text` is title and body together, which is
 * what chat services read. Redirects are not followed. Retries on network errors, 429 and 5xx.
 */
export function createWebhook({ url, clock, timeoutMs = 10_000, delaysMs = [1000, 5000] }: WebhookOptions): AlertChannel {
  return {
    name: 'webhook',
    async send(alert, signal) {
      const body = JSON.stringify(payload(alert));
      for (let attempt = 0; ; attempt += 1) {
        const outcome = await post(url, body, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
        if (outcome === 'taken') return;
        const delay = delaysMs[attempt];
        if (!outcome.retry || delay === undefined)
          throw new Failure('alert.not-delivered', { attempted: `send alert ${alert.id} to the web hook`, reason: outcome.reason });
        await clock.sleep(delay, signal);
      }
    },
  };
}

function payload({ id, severity, title, body, at }: Alert): Record<string, string> {
  return { id, severity, title, body, at: new Date(at).toISOString(), text: `${title}\n${body}` };
}

/** The address may be in a fetch error's message, so that only its code is kept. */
async function post(url: Secret, body: string, signal: AbortSignal): Promise<'taken' | { reason: string; retry: boolean }> {
  try {
    const response = await fetch(url.reveal(), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
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
