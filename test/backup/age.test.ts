import { describe, expect, test } from '@jest/globals';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Decrypter, Encrypter, generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { keyByIdentities, newFileKey } from '../../src/backup/age-header.ts';
import { ageDecrypt, ageEncrypt } from '../../src/backup/age-payload.ts';
import { Secret } from '../../src/config/secret.ts';

/** Around each boundary of age's chunks of 64 KiB. */
const sizes = [0, 1, 65_535, 65_536, 65_537, 131_072, 131_073, 1_000_003, 20 * 65_536];
const pieces = [1, 1000, 65_536, 1 << 20];

const inPieces = (content: Buffer, size: number): Readable =>
  Readable.from(
    (function* () {
      for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
    })(),
  );

async function sealed(content: Buffer, recipients: string[], piece: number): Promise<Buffer> {
  return buffer(ageEncrypt(inPieces(content, piece), await newFileKey(recipients)));
}

async function open(file: Buffer, identity: string, piece = 65_536): Promise<Buffer> {
  return buffer(ageDecrypt(inPieces(file, piece), keyByIdentities([new Secret(identity)])));
}

test.each(sizes)('%i bytes go to the library and come back from it', async (size) => {
  const identity = await generateX25519Identity();
  const second = await generateHybridIdentity();
  const recipients = [await identityToRecipient(identity), await identityToRecipient(second)];
  const content = randomBytes(size);
  for (const piece of pieces.filter((bytes) => size / bytes < 2000)) {
    const file = await sealed(content, recipients, piece);
    for (const known of [identity, second]) {
      const decrypter = new Decrypter();
      decrypter.addIdentity(known);
      expect(Buffer.from(await decrypter.decrypt(new Uint8Array(file))).equals(content)).toBe(true);
      expect((await open(file, known, piece)).equals(content)).toBe(true);
    }
  }
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  expect((await open(Buffer.from(await encrypter.encrypt(new Uint8Array(content))), identity)).equals(content)).toBe(true);
});

describe('what was changed', () => {
  const size = 3 * 65_536 + 5;
  let file: Buffer;
  let identity: string;
  const make = async (): Promise<void> => {
    identity = await generateX25519Identity();
    file = await sealed(Buffer.alloc(size, 7), [await identityToRecipient(identity)], 65_536);
  };

  test('by one bit is refused, wherever it is', async () => {
    await make();
    const header = file.indexOf('\n--- ') + 49;
    // Each region: version, stanza, body, authentication, nonce, first chunk, its tag, a middle one, the last, its tag.
    const places = [
      3,
      25,
      60,
      header - 10,
      header + 3,
      header + 16,
      header + 16 + 65_540,
      header + 16 + 70_000,
      file.length - 18,
      file.length - 1,
    ];
    for (const at of places) {
      const changed = Buffer.from(file);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await expect(open(changed, identity)).rejects.toMatchObject({ id: expect.stringMatching(/^backup\.(damaged|no-key)$/) as unknown });
    }
  });

  test('by a cut is refused, at each boundary and a byte beside it', async () => {
    await make();
    const start = file.indexOf('\n--- ') + 49 + 16;
    const boundaries = [0, 1, 2, 3].map((chunk) => start + chunk * (65_536 + 16));
    for (const boundary of [...boundaries, file.length]) {
      for (const at of [boundary - 1, boundary, boundary + 1].filter((end) => end < file.length))
        await expect(open(file.subarray(0, at), identity)).rejects.toMatchObject({ id: 'backup.damaged' });
    }
    await expect(open(Buffer.concat([file, Buffer.from([0])]), identity)).rejects.toMatchObject({ id: 'backup.damaged' });
    await expect(open(Buffer.alloc(0), identity)).rejects.toMatchObject({ id: 'backup.damaged' });
  });

  test('to another order of its chunks is refused', async () => {
    await make();
    const start = file.indexOf('\n--- ') + 49 + 16;
    const chunk = (n: number): Buffer => file.subarray(start + n * 65_552, start + (n + 1) * 65_552);
    const swapped = Buffer.concat([file.subarray(0, start), chunk(1), chunk(0), file.subarray(start + 2 * 65_552)]);
    await expect(open(swapped, identity)).rejects.toMatchObject({ id: 'backup.damaged' });
  });

  test('or sealed to somebody else has no key here', async () => {
    await make();
    await expect(open(file, await generateX25519Identity())).rejects.toMatchObject({ id: 'backup.no-key' });
  });

  test('or is no age file at all', async () => {
    await expect(open(randomBytes(200_000), await generateX25519Identity())).rejects.toMatchObject({ id: 'backup.damaged' });
  });
});

test('an empty last chunk after a full one is refused, as age says', async () => {
  const identity = await generateX25519Identity();
  const key = await newFileKey([await identityToRecipient(identity)]);
  // What a careless writer makes of 64 KiB: a full chunk that is not the last, and an empty one that is.
  const { createCipheriv, hkdfSync } = await import('node:crypto');
  const nonce = randomBytes(16);
  const payload = Buffer.from(hkdfSync('sha256', key.key, nonce, 'payload', 32));
  const seal = (content: Buffer, counter: number, last: number): Buffer => {
    const iv = Buffer.alloc(12);
    iv[10] = counter;
    iv[11] = last;
    const cipher = createCipheriv('chacha20-poly1305', payload, iv, { authTagLength: 16 });
    return Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()]);
  };
  const file = Buffer.concat([key.header, nonce, seal(Buffer.alloc(65_536), 0, 0), seal(Buffer.alloc(0), 1, 1)]);
  await expect(open(file, identity)).rejects.toMatchObject({ id: 'backup.damaged' });
  const right = Buffer.concat([key.header, nonce, seal(Buffer.alloc(65_536), 0, 1)]);
  expect(
    createHash('sha256')
      .update(await open(right, identity))
      .digest('hex'),
  ).toBe(createHash('sha256').update(Buffer.alloc(65_536)).digest('hex'));
});
