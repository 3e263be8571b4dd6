import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { AlertChannel } from './channel.ts';
import { createNtfy } from './ntfy.ts';
import { createSmtp } from './smtp.ts';
import { createWebhook } from './webhook.ts';

/** The channels that the configuration names; empty when it names none. */
export function createAlertChannels({ webhook, ntfy, smtp }: Omit<Config['alerts'], 'repeat'>, clock: Clock): AlertChannel[] {
  return [
    ...(webhook === undefined ? [] : [createWebhook({ ...webhook, clock })]),
    ...(ntfy === undefined ? [] : [createNtfy({ url: ntfy.url, token: ntfy.token, clock })]),
    ...(smtp === undefined ? [] : [createSmtp({ ...smtp, user: smtp.user, password: smtp.password, clock })]),
  ];
}
