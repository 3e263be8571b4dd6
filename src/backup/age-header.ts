import type { Secret } from '../config/secret.ts';
import { ageLibrary } from '../secrets/age-library.ts';
import { damaged, nonceSize, tagSize, type FileKey } from './age-payload.ts';

/** The header of files of age (age-encryption.org/v1), which says who can have the file's key. */

/** A new file key for these recipients (`age1…`). Throws TypeError for what is no recipient. */
export async function newFileKey(recipients: readonly string[]): Promise<FileKey> {
  const { Encrypter } = await ageLibrary();
  let key = Buffer.alloc(0);
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  encrypter.addRecipient({
    wrapFileKey: (fileKey) => {
      key = Buffer.from(fileKey);
      return [];
    },
  });
  const empty = await encrypter.encrypt(new Uint8Array(0));
  // What follows the header of an empty file: its nonce, and one empty chunk's tag.
  return { header: Buffer.from(empty.subarray(0, empty.length - nonceSize - tagSize)), key };
}

/** Finds the file key by identities (`AGE-SECRET-KEY-1…`). */
export function keyByIdentities(identities: readonly Secret[]): (header: Buffer) => Promise<Buffer | null> {
  return async (header) => {
    const { Decrypter } = await ageLibrary();
    const decrypter = new Decrypter();
    for (const identity of identities) decrypter.addIdentity(identity.reveal());
    try {
      return Buffer.from(await decrypter.decryptHeader(header));
    } catch (error) {
      if ((error as Error).message.startsWith('no identity matched')) return null;
      throw damaged('its header is not what was sealed');
    }
  };
}
