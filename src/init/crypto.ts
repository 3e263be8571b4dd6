import { join } from 'node:path';
import type { Clock, Ids } from '../clock.ts';
import { describeMistakes, requireConfigPath } from '../config/cli.ts';
import { loadConfig } from '../config/load.ts';
import { Failure } from '../failures/failure.ts';
import { Bootstrap } from '../homeserver/bootstrap.ts';
import { RecoveryFile, recoveryFilePath } from '../secrets/recovery-file.ts';
import { crashPoint } from '../store/crash-point.ts';
import { takeLock } from '../store/lock.ts';
import { Store } from '../store/store.ts';
import { takeOption } from '../terminal/words.ts';
import type { CryptoSetting } from './crypto-setting.ts';
import { inspectDevice } from './device-inspection.ts';
import { resetDevice } from './device-reset.ts';

export interface CryptoIo {
  env: NodeJS.ProcessEnv;
  out(text: string): void;
  err(text: string): void;
  clock: Clock;
  ids: Ids;
}

const usage = `usage: steward crypto {status | verify | reset} [--config FILE]

  status   the device whose keys are in the store
  verify   compares store, recovery material, token and homeserver; exit code 1 when something does not fit
  reset    makes a new device and forgets the keys of the old one; it is signed by the same identity,
           whose recovery material must be there
           --new-identity      makes a new identity as well, where the recovery material is lost or the identity was replaced
           --token-file FILE   the access token of a new device of the account, where passwords do not log in

The daemon must not run.
`;

/** `steward crypto …`: `argv` begins after the word crypto. Returns the exit code; throws Failures. */
export async function cryptoCommand(argv: readonly string[], io: CryptoIo): Promise<number> {
  const { value: configFile, rest } = takeOption(argv, 'config');
  const { value: tokenFile, rest: words } = takeOption(rest, 'token-file');
  const newIdentity = words.includes('--new-identity');
  const [verb, ...extra] = words.filter((word) => word !== '--new-identity');
  const isKnown = verb === 'status' || verb === 'verify' || verb === 'reset';
  if (!isKnown || extra.length > 0 || (verb !== 'reset' && (newIdentity || tokenFile !== undefined))) {
    io.err(usage);
    return 2;
  }
  const loaded = loadConfig(configFile ?? requireConfigPath(io.env), io.env);
  if (!loaded.ok) {
    io.err(describeMistakes(loaded));
    return 2;
  }
  const { dataDir, homeserver, encryption } = loaded.config;
  if (homeserver === undefined) throw new Failure('config.no-homeserver');
  const lock = await takeLock(join(dataDir, 'steward.lock'), 0, io.clock);
  try {
    const store = Store.open(join(dataDir, 'steward.db'), crashPoint(io.env['STEWARD_CRASH_AT']));
    try {
      const setting: CryptoSetting = {
        loaded,
        homeserver,
        store,
        bootstrap: new Bootstrap({ url: homeserver.url, adminUrl: homeserver.adminUrl ?? homeserver.url, clock: io.clock, ids: io.ids }),
        recovery: new RecoveryFile(recoveryFilePath({ dataDir, encryption })),
        clock: io.clock,
        ids: io.ids,
      };
      if (verb === 'reset') {
        io.out(await resetDevice(setting, { newIdentity, tokenFile: tokenFile ?? null }));
        return 0;
      }
      const parts = await inspectDevice(setting, verb === 'verify');
      for (const { name, ok, text } of parts) io.out(`${ok ? '✓' : '✗'} ${name}: ${text}\n`);
      return verb === 'verify' && parts.some(({ ok }) => !ok) ? 1 : 0;
    } finally {
      store.close();
    }
  } finally {
    lock.release();
  }
}
