import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { asFailure } from '../failures/failure.ts';
import type { Synapse } from '../homeserver/synapse/synapse.ts';
import { fail, ok, skipped, warn, type Finding } from './line.ts';

/** Milliseconds by which the clocks may differ: times in answers and schedules are off by as much. */
const smallSkew = 10_000;
const largeSkew = 2 * 60_000;

export async function lookAtHomeserver(homeserver: Synapse | null, clock: Clock): Promise<Finding> {
  if (homeserver === null) return warn('none is configured', 'Run `steward init`.');
  const started = clock.monotonic();
  try {
    const version = await homeserver.version();
    return ok(`${homeserver.serverName} answers in ${Math.round(clock.monotonic() - started)} ms, Synapse ${version}`);
  } catch (error) {
    const { reason, hint, id } = asFailure(error);
    // It answers, and what it says is the next lines' matter.
    if (id === 'homeserver.unknown-token' || id === 'homeserver.not-admin') return ok(`${homeserver.serverName} answers`);
    return fail(reason, hint);
  }
}

export async function lookAtToken(homeserver: Synapse, config: Config): Promise<Finding> {
  const { userId, deviceId } = await homeserver.whoami();
  const wanted = config.homeserver;
  if (userId !== wanted?.userId) return fail(`it belongs to ${userId}`, 'Does `homeserver.access_token_file` hold the right token?');
  if (wanted.deviceId !== undefined && wanted.deviceId !== deviceId)
    return fail(`it is of the device ${deviceId ?? '(none)'}, not of ${wanted.deviceId}`, 'Run `steward init`.');
  return ok(`${userId}, device ${deviceId ?? '(none)'}`);
}

export async function lookWhetherAdmin(homeserver: Synapse, config: Config): Promise<Finding> {
  const userId = config.homeserver?.userId ?? '';
  // Only an admin is answered. Where Matrix Authentication Service has the accounts the token says it, and no flag.
  if ((await homeserver.user(userId)) === null)
    return fail(
      `the homeserver has no account ${userId}`,
      'Is `homeserver.user_id` written as the account is? `steward init` fills it in.',
    );
  return ok(`${userId} is a server admin`);
}

export async function lookAtRateLimit(homeserver: Synapse, config: Config): Promise<Finding> {
  const userId = config.homeserver?.userId ?? '';
  if (await homeserver.isExemptFromRateLimit(userId)) return ok('exempt');
  const url = config.homeserver?.adminUrl ?? config.homeserver?.url ?? '';
  const path = `/_synapse/admin/v1/users/${encodeURIComponent(userId)}/override_ratelimit`;
  return warn(
    'not exempt: many answers at once are slowed down',
    `\`curl -X POST -H "Authorization: Bearer TOKEN" -d '{"messages_per_second":0,"burst_count":0}' ${url}${path}\``,
  );
}

/** Against the Date header, which has whole seconds. */
export async function lookAtClock(config: Config, clock: Clock): Promise<Finding> {
  const before = clock.now();
  const answer = await fetch(`${config.homeserver?.url ?? ''}/_matrix/client/versions`, { signal: AbortSignal.timeout(10_000) });
  await answer.body?.cancel();
  const theirs = Date.parse(answer.headers.get('date') ?? '');
  if (Number.isNaN(theirs)) return skipped('the homeserver does not say what time it has');
  const ours = (before + clock.now()) / 2;
  const skew = theirs + 500 - ours;
  const size = Math.abs(skew);
  if (size < smallSkew) return ok('it agrees with the homeserver');
  const detail = `the homeserver is ${Math.round(size / 1000)} s ${skew > 0 ? 'ahead' : 'behind'}`;
  const fix = 'Is time synchronisation (chrony, NTP) running on both?';
  return size < largeSkew ? warn(detail, fix) : fail(detail, fix);
}
