import type { Clock, Ids } from '../clock.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { Secret } from '../config/secret.ts';
import type { ClientApi } from '../homeserver/admin-room.ts';
import type { Bootstrap } from '../homeserver/bootstrap.ts';
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
