import { z } from 'zod';
import type { Secret } from '../config/secret.ts';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { Delegation } from '../stack/stack.ts';
import { readAnswer } from './bootstrap.ts';
import { SynapseHttp } from './synapse/http.ts';

export interface DelegatedOptions {
  /** Null where Steward cannot read what the homeserver and the service share. */
  delegation: Delegation | null;
  /** Where /_synapse answers. */
  adminUrl: string;
  clock: Clock;
}

/** Milliseconds that each answer may take. */
const timeout = 10_000;
const deviceScope = /^urn:matrix:(?:client|org\.matrix\.msc2967\.client):device:(.+)$/;
const introspection = z.object({
  active: z.boolean(),
  username: z.string().nullish(),
  scope: z.string().nullish(),
  device_id: z.string().nullish(),
});

/**
 * Makes an account and its device on a homeserver where Matrix Authentication Service knows the token and the homeserver lost
 * both, as that service does itself. May be called again.
 *
 * @throws Failure `restore.not-attached`, with what to type
 */
export async function provisionAgain({ delegation, adminUrl, clock }: DelegatedOptions, userId: string, token: Secret): Promise<void> {
  const localpart = userId.slice(1, userId.indexOf(':'));
  const attempted = `make ${userId} again`;
  try {
    if (delegation === null)
      throw new Failure('homeserver.no-endpoint', { reason: 'homeserver.yaml names no secret of the service that Steward can read' });
    const at = new SynapseHttp({ baseUrl: adminUrl, token: delegation.secret, clock });
    const known = await introspect(delegation, token);
    if (!known.active || known.username !== localpart)
      throw new Failure('restore.not-attached', {
        attempted,
        reason: 'Matrix Authentication Service does not know the access token',
        hint: `Where it runs \`mas-cli manage issue-compatibility-token ${localpart} --yes-i-want-to-grant-synapse-admin-privileges\` makes one: put it into \`homeserver.access_token_file\`, then \`steward server reload\`.`,
      });
    const scopes = (known.scope ?? '').split(' ');
    const device = known.device_id ?? scopes.map((scope) => deviceScope.exec(scope)?.[1]).find((id) => id !== undefined);
    const body = { localpart, set_displayname: 'Steward' };
    await at.json({ method: 'POST', path: '/_synapse/mas/provision_user', body, timeout });
    if (device === undefined) return;
    await at.json({ method: 'POST', path: '/_synapse/mas/upsert_device', body: { localpart, device_id: device }, timeout });
  } catch (error) {
    if (!(error instanceof Failure) || error.id === 'restore.not-attached') throw error;
    throw new Failure('restore.not-attached', {
      attempted,
      reason: error.message,
      hint: '`mas-cli manage provision-all-users`, where Matrix Authentication Service runs, makes it and its device again.',
      cause: error,
    });
  }
}

/** Whose a token is. @throws Failure of the family `homeserver` */
async function introspect({ endpoint, secret }: Delegation, token: Secret): Promise<z.output<typeof introspection>> {
  const attempted = 'ask Matrix Authentication Service about the access token';
  let answer: unknown;
  try {
    const response = await fetch(`${endpoint.replace(/\/+$/, '')}/oauth2/introspect`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret.reveal()}`, 'X-MAS-Supports-Device-Id': '1' },
      body: new URLSearchParams({ token: token.reveal(), token_type_hint: 'access_token' }),
      redirect: 'error',
      signal: AbortSignal.timeout(timeout),
    });
    if (!response.ok) throw new Failure('homeserver.refused', { attempted, reason: `it answered status ${response.status}` });
    answer = await response.json();
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('homeserver.unreachable', { attempted, reason: `${endpoint} does not answer`, cause: error });
  }
  return readAnswer(introspection, answer);
}
