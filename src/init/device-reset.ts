import { readFile, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { AuditLog } from '../audit/log.ts';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { publishedKeys } from '../homeserver/published-keys.ts';
import { identityOf, isSameIdentity, newIdentity, publicIdentity, uploadOf } from '../matrix/crypto/cross-signing.ts';
import { fromRecovery, toRecovery } from '../matrix/crypto/recovery.ts';
import { RoomWriter } from '../matrix/writer.ts';
import { text } from '../reply/parts.ts';
import { adminRoomId } from '../room/moved.ts';
import { RecoveryFile } from '../secrets/recovery-file.ts';
import { AuditRows } from '../store/audit-rows.ts';
import { DeviceStore } from '../store/device.ts';
import { Facts } from '../store/facts.ts';
import { IdentityPins } from '../store/identity-pins.ts';
import { Outbox } from '../store/outbox.ts';
import { silentLog } from '../telemetry/log.ts';
import { recoveryIdentity } from '../matrix/crypto/recovery.ts';
import { apiWith, type CryptoSetting } from './crypto-setting.ts';
import { readSecret, writeSetupFile } from './files.ts';

export interface ResetOptions {
  /** Makes another cross-signing identity too. */
  newIdentity: boolean;
  /** File of the token of a device that somebody has made, or null where one is made here. */
  tokenFile: string | null;
}

/** A reset that is under way: kept from before the first change until nothing is left to be done. */
export interface ResetJournal {
  /** Devices that go at the end. */
  from: string[];
  to: string;
  newIdentity: boolean;
  /** The store is the new device's: what is left is to remove the old ones. */
  swapped: boolean;
}

export function resetJournal(facts: Facts): ResetJournal | null {
  return JSON.parse(facts.get('device_reset') ?? 'null') as ResetJournal | null;
}

const attempted = 'make a new device';

/**
 * A new device in place of the one whose keys are in the store. Everything is looked at before the first change. Killed
 * anywhere, it leaves the old device as it was, or is finished by the next run: until the store is swapped a start
 * either works with the old token, or refuses the new one by the keys that are in the store.
 *
 * @returns what to tell
 */
export async function resetDevice(setting: CryptoSetting, options: ResetOptions): Promise<string> {
  const { bootstrap, homeserver, loaded, store } = setting;
  const { userId, accessToken } = homeserver;
  const facts = new Facts(store);
  const files = await tokenFiles(setting);
  const holder = await bootstrap.identify(accessToken);
  if (holder === null) throw new Failure('homeserver.unknown-token', { attempted });
  if (holder.userId !== userId)
    throw new Failure('init.account-taken', { attempted, reason: `the access token is of ${holder.userId}, not of ${userId}` });
  const begun = resetJournal(facts);
  const isNewInPlace = begun !== null && holder.deviceId === begun.to;
  const wantsIdentity = options.newIdentity || begun?.newIdentity === true;
  if (begun === null || !begun.swapped) {
    if (!wantsIdentity) await requireRecovery(setting);
    const given = isNewInPlace ? null : await givenDevice(setting, options.tokenFile, holder.deviceId);
    if (!isNewInPlace && given === null) await requireOwn(setting);
    const journal = journalOf(setting, { begun, old: holder.deviceId, to: given?.deviceId ?? null, newIdentity: wantsIdentity });
    keepJournal(setting, journal);
    const made = isNewInPlace ? null : (given ?? (await bootstrap.renewDevice(userId, journal.to, accessToken)));
    const token = made?.token ?? accessToken;
    if (journal.newIdentity) await publishIdentity(setting, token, made?.password ?? null);
    await files.write(token, journal.to);
    swap(setting, journal);
    await finish(setting, journal, token);
    return told(journal, loaded.path);
  }
  await finish(setting, begun, accessToken);
  return `✓ what an earlier reset had begun is done: device ${begun.to}. Run it again where you want another one.\n`;
}

/** The file of the token, and the configuration where that names the device. */
async function tokenFiles({ loaded }: CryptoSetting): Promise<{ write: (token: Secret, deviceId: string) => Promise<void> }> {
  const document = parseDocument(await readFile(loaded.path, 'utf8'));
  const tokenFile = document.getIn(['homeserver', 'access_token_file']);
  if (typeof tokenFile !== 'string')
    throw new Failure('init.not-written', {
      attempted,
      reason: `${loaded.path} does not name the file of the access token, where the new one must go`,
      hint: 'Set `homeserver.access_token_file` in the file.',
    });
  return {
    write: async (token, deviceId) => {
      if (document.hasIn(['homeserver', 'device_id'])) {
        document.setIn(['homeserver', 'device_id'], deviceId);
        await writeSetupFile(loaded.path, document.toString({ lineWidth: 0 }));
      }
      await writeSetupFile(resolve(dirname(loaded.path), tokenFile), `${token.reveal()}\n`);
    },
  };
}

/** The recovery material must be that of the identity that the homeserver shows: nothing else can sign the new device. */
async function requireRecovery(setting: CryptoSetting): Promise<void> {
  const { homeserver, recovery } = setting;
  const account = await publishedKeys(apiWith(setting, homeserver.accessToken), homeserver.userId);
  if (account.master === null) return;
  const hint = 'Put the right file back, from a copy of `data_dir` or of its secrets. Is it lost? `steward crypto reset --new-identity`.';
  const own = await recoveryIdentity(setting.recovery);
  if (own === null)
    throw new Failure('crypto.no-recovery', { attempted, reason: `${recovery.name} is not there, and nothing else can sign it`, hint });
  const shown = identityOf(account);
  if (shown === null || !isSameIdentity(own, shown))
    throw new Failure('crypto.wrong-recovery', {
      attempted,
      reason: `${recovery.name} is of the identity ${own.master}, and the homeserver shows ${shown?.master ?? 'half of one'}`,
      hint,
    });
}

/** A password is set only for an account that Steward has made itself. */
async function requireOwn({ bootstrap, homeserver }: CryptoSetting): Promise<void> {
  await bootstrap.requireBot(homeserver.userId, homeserver.accessToken).catch((error: unknown) => {
    if (!(error instanceof Failure) || error.id !== 'init.account-taken') throw error;
    throw new Failure('init.account-taken', {
      attempted,
      reason: error.reason,
      hint: 'Log in on a new device of the account yourself, and give its token: `--token-file FILE`.',
    });
  });
}

interface MadeDevice {
  token: Secret;
  /** Null where nobody here knows it. */
  password: Secret | null;
}

async function givenDevice(
  { bootstrap, homeserver, store }: CryptoSetting,
  path: string | null,
  oldDevice: string | null,
): Promise<(MadeDevice & { deviceId: string }) | null> {
  if (path === null) return null;
  const token = await readSecret(path);
  const identity = token === null ? null : await bootstrap.identify(token);
  const isUsable =
    identity?.userId === homeserver.userId &&
    identity.deviceId !== null &&
    identity.deviceId !== oldDevice &&
    identity.deviceId !== new DeviceStore(store).about()?.deviceId;
  if (token === null || !isUsable || identity.deviceId === null)
    throw new Failure('usage.invalid-value', {
      attempted,
      reason: `${path} holds no token of a new device of ${homeserver.userId}`,
      hint: 'Log in once more as that account, and put the token of that session into the file.',
    });
  return { token, password: null, deviceId: identity.deviceId };
}

function journalOf(
  { ids, store }: CryptoSetting,
  { begun, old, to, newIdentity: isNew }: { begun: ResetJournal | null; old: string | null; to: string | null; newIdentity: boolean },
): ResetJournal {
  const next = to ?? begun?.to ?? `STEWARD-${ids.short(8).toUpperCase()}`;
  const stored = new DeviceStore(store).about()?.deviceId;
  const from = [...new Set([...(begun?.from ?? []), old, stored, begun?.to])].filter((id) => id != null && id !== next);
  return { from: from as string[], to: next, newIdentity: isNew, swapped: false };
}

function keepJournal({ store }: CryptoSetting, journal: ResetJournal | null): void {
  store.transaction(() => {
    new Facts(store).set('device_reset', JSON.stringify(journal));
  });
}

/** The private keys are safe in a file of their own before the public ones are published, and take their place after it. */
async function publishIdentity(setting: CryptoSetting, token: Secret, password: Secret | null): Promise<void> {
  const { bootstrap, homeserver, recovery } = setting;
  const { userId } = homeserver;
  const next = new RecoveryFile(`${recovery.name}.new`);
  const kept = await next.read();
  const keys = kept === null ? newIdentity() : fromRecovery(kept);
  if (kept === null) await next.keep(toRecovery(keys));
  const isShown = async (): Promise<boolean> => {
    const shown = identityOf(await publishedKeys(apiWith(setting, token), userId));
    return shown !== null && isSameIdentity(shown, publicIdentity(keys));
  };
  if (!(await isShown())) await bootstrap.replaceIdentity(userId, uploadOf(userId, keys), { token, password });
  if (!(await isShown()))
    throw new Failure('homeserver.not-done', { attempted: 'make a new identity', reason: 'the homeserver shows another one' });
  await recovery.keep(toRecovery(keys));
}

/** The moment from which on the store is the new device's. */
function swap(setting: CryptoSetting, journal: ResetJournal): void {
  const { clock, homeserver, loaded, store } = setting;
  const { dataDir } = loaded.config;
  const facts = new Facts(store);
  const outbox = new Outbox(store);
  const parts = { store, rows: new AuditRows(store), facts, clock, log: silentLog };
  const audit = new AuditLog({ ...parts, dir: join(dataDir, 'audit'), exports: join(dataDir, 'exports') });
  const roomId = adminRoomId(loaded.config, facts);
  try {
    store.transaction(() => {
      new DeviceStore(store).forget();
      new IdentityPins(store).remove(homeserver.userId);
      audit.record({
        event: 'device.reset',
        actor: { kind: 'shell' },
        targets: [journal.to],
        detail: { new_identity: journal.newIdentity, from: journal.from.join(' ') },
      });
      if (roomId !== null) {
        const writer = new RoomWriter({ roomId, outbox, clock, config: () => loaded.config });
        writer.reply(`device-reset-${journal.to}`, { command: null, outcome: 'done', parts: wordsOf(journal) }, writer.open, null);
      }
      facts.set('device_reset', JSON.stringify({ ...journal, swapped: true } satisfies ResetJournal));
    });
  } finally {
    audit.close();
  }
}

const wordsOf = ({ to, newIdentity: isNew }: ResetJournal) => [
  text('I have a new device, ', { id: to }, ', made on the host with ', { code: 'steward crypto reset' }, '.'),
  isNew
    ? text({ strong: 'My identity is new as well:' }, ' ask who did it, then verify me again. ', { command: 'server crypto' }, ' shows it.')
    : text('My identity is the one you know.'),
];

async function finish(setting: CryptoSetting, journal: ResetJournal, token: Secret): Promise<void> {
  const { bootstrap, homeserver, recovery } = setting;
  for (const gone of journal.from) await bootstrap.deleteDevice(homeserver.userId, gone, token);
  await rm(`${recovery.name}.new`, { force: true });
  keepJournal(setting, null);
}

function told({ to, newIdentity: isNew }: ResetJournal, path: string): string {
  const signed = isNew
    ? 'It signs the device with the new identity; people verify Steward again.'
    : 'It signs the device with the identity of the recovery material.';
  return `✓ new device ${to}${isNew ? ', new identity' : ''}\n\nNext: steward run --config ${path}\n${signed}\n`;
}
