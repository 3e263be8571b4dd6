import { createHash } from 'node:crypto';
import type { AgeRecipients } from '../store/age-recipients.ts';
import { ageLibrary } from './age-library.ts';
import type { Rung } from './ladder.ts';

/** Why a text is no recipient of age (https://age-encryption.org/v1), or null when it is one; the checksum is looked at. */
export async function recipientMistake(text: string): Promise<string | null> {
  if (/^age-secret-key-/iu.test(text)) return 'it is the secret key; the recipient is the line that starts with age1';
  if (/^ssh-/u.test(text)) return 'SSH keys are not taken; `age-keygen` makes a key of age';
  if (!text.startsWith('age1')) return 'a recipient of age starts with age1';
  const { Encrypter } = await ageLibrary();
  try {
    new Encrypter().addRecipient(text);
    return null;
  } catch {
    return 'a letter of it is wrong or missing, or it needs a plugin';
  }
}

/** A short name of a recipient to compare by eye: the first 64 bits of its SHA-256, in groups of four. */
export function fingerprint(recipient: string): string {
  return (createHash('sha256').update(recipient).digest('hex').slice(0, 16).match(/.{4}/g) ?? []).join('-');
}

/** A text encrypted to one recipient, as an armored file that `age -d` opens. */
export async function encryptTo(recipient: string, text: string): Promise<string> {
  const { armor, Encrypter } = await ageLibrary();
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return armor.encode(await encrypter.encrypt(text));
}

/** To the recipient that the person who asks has registered. */
export function ageRung(recipients: AgeRecipients): Rung {
  return {
    offer({ person }) {
      if (person === null) return Promise.resolve({ refused: 'the shell names nobody whose age key it could be' });
      const known = recipients.of(person);
      return Promise.resolve(known === null ? { refused: `no age key of ${person}` } : { to: known.recipient });
    },
  };
}
