import { createPrivateKey, createPublicKey, randomBytes, sign, verify, type KeyObject } from 'node:crypto';
import { canonical } from '../../audit/chain.ts';
import type { PublishedAccount, SignedKeys } from '../../homeserver/published-keys.ts';
import type { CrossSigningKeys } from './device.ts';

/** The public cross-signing keys: Ed25519, unpadded base64. */
export type PublicIdentity = CrossSigningKeys;

// What stands before the 32 bytes of a key in DER (RFC 8410).
const privatePrefix = Buffer.from('302e020100300506032b657004220420', 'hex');
const publicPrefix = Buffer.from('302a300506032b6570032100', 'hex');

/** Three new private keys. */
export function newIdentity(): CrossSigningKeys {
  const seed = (): string => unpadded(randomBytes(32));
  return { master: seed(), selfSigning: seed(), userSigning: seed() };
}

/** @throws RangeError when a key is not 32 bytes */
export function publicIdentity({ master, selfSigning, userSigning }: CrossSigningKeys): PublicIdentity {
  return { master: publicOf(master), selfSigning: publicOf(selfSigning), userSigning: publicOf(userSigning) };
}

/** The identity that the homeserver shows, or null where it is not whole. */
export function identityOf({ master, selfSigning, userSigning }: PublishedAccount): PublicIdentity | null {
  const [one, two, three] = [master, selfSigning, userSigning].map((key) => Object.values(key?.keys ?? {})[0]);
  return one === undefined || two === undefined || three === undefined ? null : { master: one, selfSigning: two, userSigning: three };
}

export function isSameIdentity(one: PublicIdentity, other: PublicIdentity): boolean {
  return one.master === other.master && one.selfSigning === other.selfSigning && one.userSigning === other.userSigning;
}

/** Whether `keys` carries a signature of `userId` by this public key that holds. */
export function isSignedBy(keys: SignedKeys, userId: string, publicKey: string): boolean {
  const signature = keys.signatures[userId]?.[`ed25519:${publicKey}`];
  if (signature === undefined) return false;
  const key = createPublicKey({ key: Buffer.concat([publicPrefix, bytesOf(publicKey)]), format: 'der', type: 'spki' });
  return verify(null, Buffer.from(signedPart(keys)), key, Buffer.from(signature, 'base64'));
}

/** The body of POST /keys/device_signing/upload: the public keys, the lower two signed by the first. */
export function uploadOf(userId: string, keys: CrossSigningKeys): Record<string, unknown> {
  const identity = publicIdentity(keys);
  const described = (usage: string, publicKey: string): Record<string, unknown> => ({
    user_id: userId,
    usage: [usage],
    keys: { [`ed25519:${publicKey}`]: publicKey },
  });
  const signed = (key: Record<string, unknown>): Record<string, unknown> => ({
    ...key,
    signatures: {
      [userId]: { [`ed25519:${identity.master}`]: unpadded(sign(null, Buffer.from(canonical(key)), privateKey(keys.master))) },
    },
  });
  return {
    master_key: described('master', identity.master),
    self_signing_key: signed(described('self_signing', identity.selfSigning)),
    user_signing_key: signed(described('user_signing', identity.userSigning)),
  };
}

/** What a signature is of: everything but signatures and `unsigned`. */
function signedPart(keys: SignedKeys): string {
  return canonical(Object.fromEntries(Object.entries(keys).filter(([name]) => name !== 'signatures' && name !== 'unsigned')));
}

function privateKey(seed: string): KeyObject {
  return createPrivateKey({ key: Buffer.concat([privatePrefix, bytesOf(seed)]), format: 'der', type: 'pkcs8' });
}

function publicOf(seed: string): string {
  const der = createPublicKey(privateKey(seed)).export({ format: 'der', type: 'spki' });
  return unpadded(der.subarray(publicPrefix.length));
}

function bytesOf(key: string): Buffer {
  const bytes = Buffer.from(key, 'base64');
  if (bytes.length !== 32) throw new RangeError('a key of Ed25519 has 32 bytes');
  return bytes;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/u, '');
}
