import { z } from 'zod';
import { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import type { RecoveryStore } from '../../secrets/recovery.ts';
import type { RecoveryState } from '../../store/device.ts';
import { publicIdentity, type PublicIdentity } from './cross-signing.ts';
import type { CrossSigningKeys } from './device.ts';

/** The recovery material: the private cross-signing keys, under the names that the protocol gives them. */
const shape = z.object({ master: z.string().min(1), self_signing: z.string().min(1), user_signing: z.string().min(1) });

export function toRecovery({ master, selfSigning, userSigning }: CrossSigningKeys): Secret {
  return new Secret(JSON.stringify({ master, self_signing: selfSigning, user_signing: userSigning }, null, 2));
}

/** @throws Failure `crypto.wrong-recovery` */
export function fromRecovery(material: Secret): CrossSigningKeys {
  try {
    const { master, self_signing: selfSigning, user_signing: userSigning } = shape.parse(JSON.parse(material.reveal()));
    return { master, selfSigning, userSigning };
  } catch {
    throw new Failure('crypto.wrong-recovery', { reason: 'the recovery material is not what Steward wrote' });
  }
}

/** The identity whose private keys lie in the recovery material, or null without any. @throws Failure `crypto.wrong-recovery`, `secret.not-stored` */
export async function recoveryIdentity(recovery: RecoveryStore): Promise<PublicIdentity | null> {
  const material = await recovery.read();
  if (material === null) return null;
  const keys = fromRecovery(material);
  try {
    return publicIdentity(keys);
  } catch (error) {
    throw new Failure('crypto.wrong-recovery', { reason: 'the recovery material is not what Steward wrote', cause: error });
  }
}

/** @param identity the master key that it should be of; null before there is one */
export async function recoveryState(recovery: RecoveryStore, identity: string | null): Promise<RecoveryState> {
  try {
    const found = await recoveryIdentity(recovery);
    if (found === null) return 'missing';
    return identity === null || found.master === identity ? 'in place' : 'of another identity';
  } catch {
    return 'unreadable';
  }
}
