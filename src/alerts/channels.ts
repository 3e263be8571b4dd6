import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { AlertChannel } from './channel.ts';
import { createWebhook } from './webhook.ts';

/** The channels that the configuration names; empty when it names none. */
export function createAlertChannels({ webhook }: Config['alerts'], clock: Clock): AlertChannel[] {
  return webhook === undefined ? [] : [createWebhook({ url: webhook.url, clock })];
}
