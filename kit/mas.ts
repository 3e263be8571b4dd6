import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** A session that Matrix Authentication Service has issued, as it tells the homeserver. */
export interface MasSession {
  localpart: string;
  deviceId: string;
  /** With `urn:synapse:admin:*`. */
  admin: boolean;
}

export interface Mas {
  /** Its section of homeserver.yaml, and what that wants of others. */
  readonly synapseConfig: Record<string, unknown>;
  readonly secret: string;
  /** As `mas-cli manage register-user` and `issue-compatibility-token` do, on this homeserver. @returns the token */
  issue(synapseUrl: string, session: MasSession): Promise<string>;
  /** As `mas-cli manage provision-all-users`: its accounts and their devices are in the homeserver again. */
  provisionAll(synapseUrl: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * What Synapse speaks with where Matrix Authentication Service has the accounts: it tells whose a token is to who knows the
 * shared secret, and makes accounts and devices by Synapse's own endpoints for it. Its sessions outlive the homeserver's data.
 */
export async function startMas(): Promise<Mas> {
  const secret = randomBytes(16).toString('hex');
  const sessions = new Map<string, MasSession>();
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const [status, answer] = answerTo(request.url ?? '', body, request.headers.authorization);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  const answerTo = (path: string, body: string, authorization: string | undefined): [number, unknown] => {
    if (path === '/.well-known/openid-configuration')
      return [
        200,
        { issuer: endpoint, account_management_uri: `${endpoint}account/`, introspection_endpoint: `${endpoint}oauth2/introspect` },
      ];
    if (path !== '/oauth2/introspect') return [404, {}];
    if (authorization !== `Bearer ${secret}`) return [401, { error: 'access_denied' }];
    const session = sessions.get(new URLSearchParams(body).get('token') ?? '');
    if (session === undefined) return [200, { active: false }];
    const scope = `urn:matrix:client:api:* urn:matrix:org.matrix.msc2967.client:api:*${session.admin ? ' urn:synapse:admin:*' : ''}`;
    const { localpart, deviceId } = session;
    return [200, { active: true, scope, username: localpart, sub: localpart, device_id: deviceId, token_type: 'access_token' }];
  };
  const tell = async (synapseUrl: string, call: string, body: object): Promise<void> => {
    const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json', connection: 'close' };
    const answer = await fetch(`${synapseUrl}/_synapse/mas/${call}`, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${call}: ${answer.status} ${await answer.text()}`);
  };

  return {
    secret,
    synapseConfig: { matrix_authentication_service: { enabled: true, endpoint, secret }, password_config: { enabled: false } },
    async issue(synapseUrl, session) {
      const { localpart, deviceId } = session;
      await tell(synapseUrl, 'provision_user', { localpart });
      await tell(synapseUrl, 'upsert_device', { localpart, device_id: deviceId });
      const token = `mct_${randomBytes(16).toString('hex')}`;
      sessions.set(token, session);
      return token;
    },
    async provisionAll(synapseUrl) {
      for (const localpart of new Set([...sessions.values()].map((session) => session.localpart))) {
        const devices = [...sessions.values()].filter((session) => session.localpart === localpart).map(({ deviceId }) => deviceId);
        await tell(synapseUrl, 'provision_user', { localpart });
        await tell(synapseUrl, 'sync_devices', { localpart, devices });
      }
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
