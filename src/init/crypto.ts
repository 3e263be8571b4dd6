import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import type { Clock, Ids } from '../clock.ts';
import { describeMistakes, requireConfigPath } from '../config/cli.ts';
import { loadConfig, type LoadedConfig } from '../config/load.ts';
import { Failure } from '../failures/failure.ts';
import { Bootstrap, readAnswer } from '../homeserver/bootstrap.ts';
import { DeviceStore } from '../store/device.ts';
import { IdentityPins } from '../store/identity-pins.ts';
import { takeLock } from '../store/lock.ts';
import { Store } from '../store/store.ts';
import { writeSetupFile } from './files.ts';

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

The daemon must not run.
`;

interface Part {
  name: string;
  ok: boolean;
  text: string;
}

/** `steward crypto …`: `argv` begins after the word crypto. Returns the exit code; throws Failures. */
export async function cryptoCommand(argv: readonly string[], io: CryptoIo): Promise<number> {
  const words = [...argv];
  const at = words.indexOf('--config');
  const file = at === -1 ? undefined : words.splice(at, 2)[1];
  const [verb, ...rest] = words;
  if ((verb !== 'status' && verb !== 'verify' && verb !== 'reset') || rest.length > 0) {
    io.err(usage);
    return 2;
  }
  const loaded = loadConfig(file ?? requireConfigPath(io.env), io.env);
  if (!loaded.ok) {
    io.err(describeMistakes(loaded));
    return 2;
  }
  const { dataDir } = loaded.config;
  const lock = await takeLock(join(dataDir, 'steward.lock'), 0, io.clock);
  try {
    const store = Store.open(join(dataDir, 'steward.db'));
    try {
      if (verb === 'reset') return await reset(loaded, store, io);
      const parts = await inspect(loaded, store, verb === 'verify', io);
      for (const { name, ok, text } of parts) io.out(`${ok ? '✓' : '✗'} ${name}: ${text}\n`);
      return verb === 'verify' && parts.some(({ ok }) => !ok) ? 1 : 0;
    } finally {
      store.close();
    }
  } finally {
    lock.release();
  }
}

function homeserverOf({ config }: LoadedConfig, io: CryptoIo) {
  const { homeserver } = config;
  if (homeserver === undefined) throw new Failure('config.no-homeserver');
  const bootstrap = new Bootstrap({ url: homeserver.url, adminUrl: homeserver.adminUrl ?? homeserver.url, clock: io.clock, ids: io.ids });
  return { homeserver, bootstrap };
}

function recoveryPath({ config }: LoadedConfig): string {
  return config.encryption.recoveryPath ?? join(config.dataDir, 'secrets', 'crypto-recovery.json');
}

const published = z.object({
  device_keys: z
    .record(z.string(), z.record(z.string(), z.object({ signatures: z.record(z.string(), z.record(z.string(), z.string())).default({}) })))
    .default({}),
  master_keys: z.record(z.string(), z.object({ keys: z.record(z.string(), z.string()) })).default({}),
  self_signing_keys: z.record(z.string(), z.object({ keys: z.record(z.string(), z.string()) })).default({}),
});

/** @param ask whether the homeserver is asked as well */
async function inspect(loaded: LoadedConfig, store: Store, ask: boolean, io: CryptoIo): Promise<Part[]> {
  const kept = new DeviceStore(store).get();
  const { homeserver, bootstrap } = homeserverOf(loaded, io);
  const { userId, accessToken } = homeserver;
  const pin = new IdentityPins(store).get(userId)?.identity ?? null;
  const recovery = await readFile(recoveryPath(loaded), 'utf8').catch(() => null);
  const parts: Part[] = [
    kept === null
      ? { name: 'device', ok: false, text: 'none yet; the first start in an encrypted room makes one' }
      : {
          name: 'device',
          ok: kept.snapshot !== null,
          text: kept.snapshot === null ? `${kept.deviceId}, whose keys cannot be read` : kept.deviceId,
        },
    { name: 'identity', ok: pin !== null, text: pin ?? 'none yet' },
    {
      name: 'recovery material',
      ok: recovery !== null,
      text: recovery === null ? `${recoveryPath(loaded)} is not there` : recoveryPath(loaded),
    },
  ];
  if (!ask || kept === null) return parts;
  const token = await bootstrap.identify(accessToken);
  const device = token?.deviceId ?? 'none';
  const answer = readAnswer(
    published,
    await bootstrap.client({
      method: 'POST',
      path: '/_matrix/client/v3/keys/query',
      body: { device_keys: { [userId]: [] } },
      token: accessToken,
    }),
  );
  const master = Object.values(answer.master_keys[userId]?.keys ?? {})[0] ?? 'none';
  const [signer] = Object.keys(answer.self_signing_keys[userId]?.keys ?? {});
  const signatures = answer.device_keys[userId]?.[kept.deviceId]?.signatures[userId] ?? {};
  const isSigned = signer !== undefined && signer in signatures;
  return [
    ...parts,
    { name: 'token', ok: device === kept.deviceId, text: `of device ${device}` },
    { name: 'identity on the homeserver', ok: master === pin, text: master },
    { name: 'signature on the homeserver', ok: isSigned, text: isSigned ? 'there' : 'missing' },
  ];
}

/** A new device in place of the one whose keys are in the store. A run that broke off is begun again from the start. */
async function reset(loaded: LoadedConfig, store: Store, io: CryptoIo): Promise<number> {
  const { homeserver, bootstrap } = homeserverOf(loaded, io);
  const { userId, accessToken } = homeserver;
  const document = parseDocument(await readFile(loaded.path, 'utf8'));
  const tokenFile = document.getIn(['homeserver', 'access_token_file']);
  if (typeof tokenFile !== 'string')
    throw new Failure('init.not-written', {
      attempted: 'make a new device',
      reason: `${loaded.path} does not name the file of the access token, where the new one must go`,
      hint: 'Set `homeserver.access_token_file` in the file.',
    });
  const tokenPath = resolve(dirname(loaded.path), tokenFile);
  const pins = new IdentityPins(store);
  if (pins.get(userId) !== null && (await readFile(recoveryPath(loaded), 'utf8').catch(() => null)) === null)
    throw new Failure('crypto.no-recovery', {
      attempted: 'make a new device',
      reason: `${recoveryPath(loaded)} is not there, and nothing else can sign it`,
    });
  const before = await bootstrap.identify(accessToken);
  if (before === null) throw new Failure('homeserver.unknown-token', { attempted: 'make a new device' });
  const deviceId = `STEWARD-${io.ids.short(8).toUpperCase()}`;
  const localpart = userId.slice(1, userId.indexOf(':'));
  const pending = { read: () => Promise.resolve(null), keep: () => Promise.resolve(), drop: () => Promise.resolve() };
  const token = await bootstrap.obtainToken({ kind: 'admin-token', secret: accessToken }, localpart, deviceId, pending);

  const devices = new DeviceStore(store);
  const old = devices.about()?.deviceId;
  store.transaction(() => {
    devices.forget();
    pins.remove(userId);
  });
  await writeSetupFile(tokenPath, `${token.reveal()}\n`);
  if (document.hasIn(['homeserver', 'device_id'])) {
    document.setIn(['homeserver', 'device_id'], deviceId);
    await writeSetupFile(loaded.path, document.toString({ lineWidth: 0 }));
  }
  for (const gone of new Set([before.deviceId, old])) if (gone != null) await bootstrap.deleteDevice(userId, gone, token);
  io.out(
    `✓ new device ${deviceId}\n\nNext: steward run --config ${loaded.path}\nIt signs the device with the identity of the recovery material.\n`,
  );
  return 0;
}
