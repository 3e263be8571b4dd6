import { createHash } from 'node:crypto';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { keyByIdentities } from './age-header.ts';
import type { Destination } from './destinations/destination.ts';
import type { Manifest } from './manifest.ts';
import type { SealedEpoch } from './unlocks.ts';

/** The file key that the header of an age file holds, or null. */
export type KeyOf = (header: Buffer) => Promise<Buffer | null>;

/** Finds the private halves of epochs: by an identity at hand, or by asking an admin. Throws `backup.no-key` where it finds none. */
export type Unlocker = (epochs: readonly SealedEpoch[]) => Promise<readonly Secret[]>;

/**
 * Finds the keys of a backup's objects.
 *
 * @throws Failure `backup.no-key`, `backup.damaged`
 */
export async function openerOf(manifest: Manifest, destination: Destination, unlock: Unlocker): Promise<KeyOf> {
  const epochs: SealedEpoch[] = [];
  for (const { name, recipient, object, stored } of manifest.epochs) {
    const sealed = await whole(destination.get(object), 1 << 20);
    if (createHash('sha256').update(sealed).digest('hex') !== stored.sha256)
      throw new Failure('backup.damaged', {
        attempted: `read ${object} in ${destination.name}`,
        reason: 'its content is not what was stored',
      });
    epochs.push({ name, recipient, sealed });
  }
  return keyByIdentities(await unlock(epochs));
}

async function whole(chunks: AsyncIterable<Uint8Array>, atMost: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    bytes += chunk.length;
    if (bytes > atMost) throw new Failure('backup.damaged', { attempted: 'read a sealed key', reason: 'it is far too large' });
  }
  return Buffer.concat(parts);
}
