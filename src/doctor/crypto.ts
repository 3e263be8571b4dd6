import type { Synapse } from '../homeserver/synapse/synapse.ts';
import type { DeviceStatus } from '../store/device.ts';
import { fail, ok, skipped, warn, type Finding } from './line.ts';

/**
 * Whether the admin room is encrypted, and Steward's device one that others trust and that is not lost with the store.
 *
 * @param device null where no room is encrypted, or no daemon runs. Throws what keeps it from being used
 */
export async function lookAtCrypto(
  homeserver: Synapse,
  roomId: string | null,
  device: () => Promise<DeviceStatus | null>,
): Promise<Finding> {
  const room = roomId === null ? null : await homeserver.room(roomId);
  if (room === null) return skipped('the room is not known');
  if (room.encryption === null) return ok('the room is not encrypted');
  const status = await device();
  if (status === null) return ok('the room is encrypted; `steward crypto verify` looks at the device');
  return deviceFinding(status);
}

function deviceFinding({ deviceId, signed, hasIdentityKeys, recovery, sessions, bytes }: DeviceStatus): Finding {
  if (!signed)
    return fail(
      `the device ${deviceId} is not signed by Steward's identity: clients that leave out insecure devices cannot read what it says`,
      '`steward crypto verify` shows what does not fit, `steward crypto reset` makes a new device.',
    );
  const found = `the device ${deviceId} is signed, its keys are ${Math.ceil(bytes / 1000)} kB with ${sessions} sessions`;
  if (recovery.state !== 'in place')
    return warn(
      `${found}; the recovery material, ${recovery.name}, is ${recovery.state}: with the store Steward's identity is lost`,
      `Put ${recovery.name} back, or make a new identity with \`steward crypto reset --new-identity\`.`,
    );
  if (!hasIdentityKeys)
    return warn(
      `${found}; the private keys of its identity are not in the store`,
      '`steward crypto reset` takes them from the recovery material.',
    );
  return ok(`${found}; the recovery material is in place`);
}
