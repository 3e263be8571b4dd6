import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { Transform } from 'node:stream';
import { z } from 'zod';

/** `EncryptedFile` of the Client-Server API, "Sending encrypted attachments": AES-256-CTR, and SHA-256 over the ciphertext. */
const shape = z.object({
  url: z.string().startsWith('mxc://'),
  v: z.literal('v2'),
  key: z.object({
    kty: z.literal('oct'),
    alg: z.literal('A256CTR'),
    ext: z.literal(true),
    key_ops: z.array(z.string()),
    k: z.string().regex(/^[\w-]{43}$/),
  }),
  /** 16 bytes in unpadded base64, the last 8 zero: the counter starts there. */
  iv: z.string().regex(/^[A-Za-z0-9+/]{22}={0,2}$/),
  hashes: z.object({ sha256: z.string().regex(/^[A-Za-z0-9+/]{43}=?$/) }),
});

export type EncryptedFile = z.output<typeof shape>;

/** The description of an encrypted file, or null when it is not one that can be read. */
export function readEncryptedFile(value: unknown): EncryptedFile | null {
  return shape.safeParse(value).data ?? null;
}

/** A stream that encrypts what passes. `describe` is called when all of it has passed. */
export function encryptFile(): { stream: Transform; describe: (url: string) => EncryptedFile } {
  const key = randomBytes(32);
  // A counter that starts at zero never overflows into the random half, which some implementations would not follow.
  const iv = Buffer.concat([randomBytes(8), Buffer.alloc(8)]);
  const cipher = createCipheriv('aes-256-ctr', key, iv);
  const hash = createHash('sha256');
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const encrypted = cipher.update(chunk);
      hash.update(encrypted);
      done(null, encrypted);
    },
  });
  return {
    stream,
    describe: (url) => ({
      url,
      v: 'v2',
      key: { kty: 'oct', alg: 'A256CTR', ext: true, key_ops: ['encrypt', 'decrypt'], k: key.toString('base64url') },
      iv: unpadded(iv),
      hashes: { sha256: unpadded(hash.digest()) },
    }),
  };
}

/**
 * Decrypts as the bytes come. The hash is known at the end only: what was given out before must not be acted on until then.
 *
 * @throws TypeError at the end when the bytes are not those that were described
 */
export async function* decryptFile(file: EncryptedFile, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const decipher = createDecipheriv('aes-256-ctr', Buffer.from(file.key.k, 'base64url'), Buffer.from(file.iv, 'base64'));
  const hash = createHash('sha256');
  for await (const chunk of bytes) {
    hash.update(chunk);
    yield decipher.update(chunk);
  }
  if (unpadded(hash.digest()) !== file.hashes.sha256.replace(/=$/, '')) throw new TypeError('the file is not what was described');
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
