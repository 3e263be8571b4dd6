import type { MatrixClient } from './client.ts';
import type { Encryption } from './crypto/encryption.ts';
import type { Identities } from './crypto/identities.ts';

/** The content of an event of a room, or null when it is not to be read, or not to be trusted. */
export type EventReader = (roomId: string, eventId: string) => Promise<Record<string, unknown> | null>;

/** Reads single events. In an encrypted room only what was encrypted, by a device that is trusted. */
export function eventReader(options: { client: () => MatrixClient; encryption: Encryption; identities: Identities }): EventReader {
  const { client, encryption, identities } = options;
  return async (roomId, eventId) => {
    const event = await client()
      .event(roomId, eventId)
      .catch(() => null);
    if (event === null) return null;
    if (!encryption.isEncrypted(roomId)) return event.content;
    if (event.type !== 'm.room.encrypted') return null;
    const decryption = await encryption.exclusive(async (device) => {
      await device.know([event.sender]);
      return device.decrypt(roomId, event);
    });
    return decryption.kind === 'decrypted' && identities.accepts(event.sender, decryption) ? decryption.content : null;
  };
}
