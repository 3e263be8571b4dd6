import { describe, expect, test } from '@jest/globals';
import { Decrypter, armor, generateIdentity, identityToRecipient } from 'age-encryption';
import { encryptTo, fingerprint, recipientMistake } from '../../src/secrets/age.ts';

const known = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kudz2lsxq8t4gnh';

describe('a recipient of age', () => {
  test('is taken as age-keygen prints it', async () => {
    const recipient = await identityToRecipient(await generateIdentity());

    expect(await recipientMistake(recipient)).toBeNull();
  });

  test.each([
    ['with one letter changed', known.replace('8t4', '9t4'), 'a letter of it is wrong or missing, or it needs a plugin'],
    ['cut short', known.slice(0, -1), 'a letter of it is wrong or missing, or it needs a plugin'],
    ['in capitals', known.toUpperCase(), 'a recipient of age starts with age1'],
    ['followed by another word', `${known} x`, 'a letter of it is wrong or missing, or it needs a plugin'],
    [
      'of a plugin',
      'age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t',
      'a letter of it is wrong or missing, or it needs a plugin',
    ],
    ['of SSH', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG alice@desk', 'SSH keys are not taken; `age-keygen` makes a key of age'],
    ['that is the secret key', 'AGE-SECRET-KEY-1QQQ', 'it is the secret key; the recipient is the line that starts with age1'],
    ['that is nothing', '', 'a recipient of age starts with age1'],
  ])('%s is refused, with the reason', async (_, text, reason) => {
    expect(await recipientMistake(text)).toBe(reason);
  });

  test('has a fingerprint of its own', () => {
    expect(fingerprint(known)).toMatch(/^([0-9a-f]{4}-){3}[0-9a-f]{4}$/);
    expect(fingerprint(known)).not.toBe(fingerprint(known.replace('q8', 'q9')));
  });
});

test('what is encrypted is opened by the identity alone, and says nothing of its content', async () => {
  const identity = await generateIdentity();
  const file = await encryptTo(await identityToRecipient(identity), 'Password: hunter2\n');

  expect(file).toMatch(/^-----BEGIN AGE ENCRYPTED FILE-----\n[^]*-----END AGE ENCRYPTED FILE-----\n?$/);
  expect(file).not.toContain('hunter2');
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  expect(await decrypter.decrypt(armor.decode(file), 'text')).toBe('Password: hunter2\n');
  const stranger = new Decrypter();
  stranger.addIdentity(await generateIdentity());
  await expect(stranger.decrypt(armor.decode(file), 'text')).rejects.toThrow('no identity matched');
});
