import { z } from 'zod';
import { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
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
