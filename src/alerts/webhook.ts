import type { Secret } from '../config/secret.ts';
import type { Alert, AlertChannel } from './channel.ts';
import { postPatiently, type Patience } from './post.ts';

export interface WebhookOptions extends Patience {
  url: Secret;
}

/**
 * Posts `{id, alerts, severity, title, body, at, text}` as JSON, `at` in ISO 8601. `text` is title and body together,
 * which is what chat services read.
 */
export function createWebhook({ url, ...patience }: WebhookOptions): AlertChannel {
  return {
    name: 'webhook',
    send: (alert, signal) =>
      postPatiently(
        { url, headers: {}, body: JSON.stringify(payload(alert)), attempted: `send alert ${alert.id} to the web hook` },
        patience,
        signal,
      ),
  };
}

function payload({ id, alerts, severity, title, body, at }: Alert): Record<string, unknown> {
  return { id, alerts, severity, title, body, at: new Date(at).toISOString(), text: `${title}\n${body}` };
}
