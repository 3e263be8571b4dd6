import type { Clock, Ids } from '../clock.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { ClientApi } from '../homeserver/admin-room.ts';
import type { Bootstrap } from '../homeserver/bootstrap.ts';
import { publicIdentity, type PublicIdentity } from '../matrix/crypto/cross-signing.ts';
import { fromRecovery } from '../matrix/crypto/recovery.ts';
import type { RecoveryStore } from '../secrets/recovery.ts';
import type { Store } from '../store/store.ts';

/** What `steward crypto` works with: the store is held, and no daemon runs. */
export interface CryptoSetting {
  loaded: LoadedConfig;
  homeserver: NonNullable<Config['homeserver']>;
  store: Store;
  bootstrap: Bootstrap;
  recovery: RecoveryStore;
  clock: Clock;
  ids: Ids;
}

/** The Client-Server API with this token. */
export function apiWith({ bootstrap }: CryptoSetting, token: Secret): ClientApi {
  return (request) => bootstrap.client({ ...request, token });
}

/** The identity whose private keys lie in the recovery material, or null without a file. @throws Failure `crypto.wrong-recovery`, `secret.not-stored` */
export async function recoveryIdentity({ recovery }: CryptoSetting): Promise<PublicIdentity | null> {
  const material = await recovery.read();
  if (material === null) return null;
  const keys = fromRecovery(material);
  try {
    return publicIdentity(keys);
  } catch (error) {
    throw new Failure('crypto.wrong-recovery', { reason: 'the recovery material is not what Steward wrote', cause: error });
  }
}
