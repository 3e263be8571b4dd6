import { createHmac } from 'node:crypto';
import type { Ids } from '../clock.ts';
import { Secret } from '../config/secret.ts';

/** Where accounts are made by the homeserver's registration_shared_secret: GET gives the nonce, POST makes the account. */
export const registerPath = '/_synapse/admin/v1/register';

export interface Registration {
  nonce: string;
  /** The localpart. */
  username: string;
  password: Secret;
  admin: boolean;
  userType?: 'bot';
}

/**
 * The body of POST /_synapse/admin/v1/register, with the `mac` that proves the secret (Synapse, "Registering a user with shared
 * secret").
 */
export function registrationBody(secret: Secret, { nonce, username, password, admin, userType }: Registration): Record<string, unknown> {
  const said = [nonce, username, password.reveal(), admin ? 'admin' : 'notadmin', ...(userType === undefined ? [] : [userType])];
  const mac = createHmac('sha1', secret.reveal()).update(said.join('\0')).digest('hex');
  return { nonce, username, password: password.reveal(), admin, ...(userType === undefined ? {} : { user_type: userType }), mac };
}

const alphabet = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789';

/** A password or shared secret that nobody has to type. */
export const longSecret = (ids: Ids): Secret => new Secret(ids.secret(alphabet, 48));
