import type { AlertChannel } from '../alerts/channel.ts';
import { fail, ok, warn, type Finding } from './line.ts';

/** Milliseconds after which a message that no channel has taken is more than a hiccup. */
const tooLong = 15 * 60_000;

/** @param undelivered what each channel has not taken, and since when */
export function lookAtChannels(
  channels: readonly AlertChannel[],
  undelivered: ReadonlyMap<string, { count: number; since: number }>,
  now: number,
): Finding {
  if (channels.length === 0)
    return fail(
      'none is set: when the homeserver is down nobody is told',
      'Set `alerts.webhook`, `alerts.ntfy` or `alerts.smtp`: see `steward config sample`.',
    );
  const behind = channels.flatMap(({ name }) => {
    const late = undelivered.get(name);
    return late === undefined ? [] : [{ name, ...late, age: now - late.since }];
  });
  if (behind.length === 0) return ok(channels.map(({ name }) => name).join(', '));
  const detail = behind.map(({ name, count, age }) => `${name} has not taken ${count} for ${Math.ceil(age / 60_000)} min`).join('; ');
  const fix = '`!server doctor --send-test` tries each channel.';
  // One that works carries the alerts of all.
  const allFail = behind.length === channels.length && behind.every(({ age }) => age > tooLong);
  return allFail ? fail(detail, fix) : warn(detail, fix);
}
