import { asFailure } from '../failures/failure.ts';
import { publishedKeys } from '../homeserver/published-keys.ts';
import { identityOf, isSameIdentity, isSignedBy, type PublicIdentity } from '../matrix/crypto/cross-signing.ts';
import type { Device } from '../matrix/crypto/device.ts';
import { recoveryIdentity } from '../matrix/crypto/recovery.ts';
import { DeviceStore } from '../store/device.ts';
import { Facts } from '../store/facts.ts';
import { IdentityPins } from '../store/identity-pins.ts';
import { apiWith, type CryptoSetting } from './crypto-setting.ts';
import { resetJournal } from './device-reset.ts';

/** One fact, and whether it is as it should be. */
export interface Part {
  name: string;
  ok: boolean;
  text: string;
}

const fact = (name: string, ok: boolean, text: string): Part => ({ name, ok, text });

/** The facts about the device of the store. @param ask whether they are compared with what the homeserver shows */
export async function inspectDevice(setting: CryptoSetting, ask: boolean): Promise<Part[]> {
  const { homeserver, store } = setting;
  const kept = new DeviceStore(store).get();
  const pin = new IdentityPins(store).get(homeserver.userId)?.identity ?? null;
  const begun = resetJournal(new Facts(store));
  const unfinished =
    begun === null ? [] : [fact('reset', false, `to ${begun.to} was begun and is not finished; run \`steward crypto reset\` again`)];
  const material = await lookAtRecovery(setting, pin);
  if (kept === null) {
    const none = fact('device', false, 'none yet; the first start in an encrypted room makes one');
    return [none, identityPart(pin), material.part, ...unfinished];
  }
  const device = kept.snapshot === null ? null : await opened(kept.userId, kept.deviceId, kept.snapshot);
  const local = [...(await deviceParts(kept.deviceId, device, kept.snapshot?.length ?? 0)), identityPart(pin), material.part];
  const remote = ask ? await remoteParts(setting, kept.deviceId, device?.fingerprint ?? null, pin, material.identity) : [];
  return [...local, ...remote, ...unfinished];
}

async function deviceParts(deviceId: string, device: Device | null, bytes: number): Promise<Part[]> {
  if (device === null) return [fact('device', false, `${deviceId}, whose keys cannot be read`)];
  const hasKeys = await device.hasIdentity();
  return [
    fact('device', true, deviceId),
    fact('fingerprint', true, device.fingerprint),
    fact('cross-signing', hasKeys, hasKeys ? 'the private keys are in the store' : 'the private keys are not in the store'),
    fact('snapshot', true, `${Math.ceil(bytes / 1000)} kB, ${await device.sessionCount()} sessions`),
  ];
}

function identityPart(pin: string | null): Part {
  return fact('identity', pin !== null, pin ?? 'none yet');
}

async function lookAtRecovery(setting: CryptoSetting, pin: string | null): Promise<{ part: Part; identity: PublicIdentity | null }> {
  const { name } = setting.recovery;
  const part = (ok: boolean, text: string): Part => fact('recovery material', ok, text);
  try {
    const identity = await recoveryIdentity(setting.recovery);
    if (identity === null) return { part: part(false, `${name} is not there`), identity };
    const isOwn = pin === null || identity.master === pin;
    return { part: part(isOwn, isOwn ? name : `${name} is of another identity, ${identity.master}`), identity };
  } catch (error) {
    return { part: part(false, `${name}: ${asFailure(error).reason}`), identity: null };
  }
}

/** What the homeserver shows, each fact beside what is here. */
async function remoteParts(
  setting: CryptoSetting,
  deviceId: string,
  fingerprint: string | null,
  pin: string | null,
  recovered: PublicIdentity | null,
): Promise<Part[]> {
  const { bootstrap, homeserver } = setting;
  const { accessToken, userId } = homeserver;
  const holder = await bootstrap.identify(accessToken);
  const token = fact(
    'token',
    holder?.deviceId === deviceId,
    holder === null ? 'the homeserver does not know it' : `of device ${holder.deviceId ?? 'none'}`,
  );
  if (holder === null) return [token];
  const account = await publishedKeys(apiWith(setting, accessToken), userId);
  const shown = identityOf(account);
  const isWhole =
    shown !== null && [account.selfSigning, account.userSigning].every((keys) => keys !== null && isSignedBy(keys, userId, shown.master));
  const keys = account.devices[deviceId];
  const shownKey = keys?.keys[`ed25519:${deviceId}`] ?? null;
  const isSigned = keys !== undefined && shown !== null && isWhole && isSignedBy(keys, userId, shown.selfSigning);
  const fits = recovered !== null && shown !== null && isSameIdentity(recovered, shown);
  return [
    token,
    fact('device on the homeserver', shownKey !== null && shownKey === fingerprint, shownKey ?? 'has no keys'),
    fact(
      'identity on the homeserver',
      isWhole && shown.master === pin,
      shown === null ? 'none' : isWhole ? shown.master : 'its keys are not signed by its master key',
    ),
    fact('recovery material and homeserver', fits, fits ? 'the same three keys' : 'not the same keys'),
    fact(
      'signature on the homeserver',
      isSigned,
      isSigned ? 'holds: the device is signed by the identity' : 'missing, or it does not hold',
    ),
  ];
}

/** The device with its keys, to be looked at: it asks nobody and keeps nothing. Null when the keys cannot be read. */
async function opened(userId: string, deviceId: string, snapshot: Uint8Array): Promise<Device | null> {
  const { Device } = await import('../matrix/crypto/device.ts');
  const never = (): never => {
    throw new TypeError('a device that is looked at changes nothing');
  };
  return Device.open({ userId, deviceId, snapshot, client: never, keep: never }).catch(() => null);
}
