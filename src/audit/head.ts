import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { canonical } from './chain.ts';

/** The newest record at a moment. */
export interface Head {
  seq: number;
  hash: string;
  /** ISO 8601, UTC: when it was signed. */
  at: string;
}

/** A head with an Ed25519 signature over its canonical JSON; key and signature in base64url. */
export interface SignedHead extends Head {
  key: string;
  signature: string;
}

/**
 * The key that signs heads: `audit/key` in the data folder, mode 0600. Whoever can change store and files, but cannot read
 * this key, cannot sign what he made of them.
 */
export class HeadKey {
  readonly #private: KeyObject;
  /** The public half, base64url. */
  readonly id: string;

  private constructor(privateKey: KeyObject) {
    this.#private = privateKey;
    this.id = createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '';
  }

  /** Reads the key of a folder, or makes one. */
  static open(dir: string): HeadKey {
    const path = join(dir, 'key');
    if (existsSync(path)) return new HeadKey(createPrivateKey(readFileSync(path)));
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const { privateKey } = generateKeyPairSync('ed25519');
    writeFileSync(path, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600, flag: 'wx', flush: true });
    return new HeadKey(privateKey);
  }

  sign({ seq, hash, at }: Head): SignedHead {
    return { seq, hash, at, key: this.id, signature: sign(null, signedBytes({ seq, hash, at }), this.#private).toString('base64url') };
  }

  /** Whether this very key signed it. */
  signed(head: SignedHead): boolean {
    return head.key === this.id && isSigned(head);
  }
}

/** Whether the signature is of the key that the head names; who has that key is another question. */
export function isSigned(head: SignedHead): boolean {
  try {
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: head.key }, format: 'jwk' });
    return verify(null, signedBytes(head), key, Buffer.from(head.signature, 'base64url'));
  } catch {
    return false;
  }
}

const signedBytes = ({ seq, hash, at }: Head): Buffer => Buffer.from(`steward audit head ${canonical({ seq, hash, at })}`);
