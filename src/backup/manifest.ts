import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import canonicalize from 'canonicalize';
import { z } from 'zod';
import { Failure } from '../failures/failure.ts';

/** What a backup is, beside its objects. It is written last, and is what makes the backup exist. */

const stored = z.object({ bytes: z.number(), sha256: z.string() });

const object = z.object({
  role: z.enum(['database', 'mas-database', 'media', 'media-index', 'signing-key', 'config', 'secrets', 'steward']),
  /** From the destination's top; a media pack may be of an earlier backup. */
  name: z.string(),
  /** Name of the epoch whose key opens it. */
  epoch: z.string(),
  /** How it was made, in words. */
  pipeline: z.array(z.string()),
  /** Before it was sealed. */
  source: stored,
  stored,
});

const signed = { signer: z.string(), signature: z.string() };

export const manifestShape = z.object({
  format: z.literal('steward/backup/1'),
  id: z.string(),
  server: z.object({
    name: z.string(),
    database: z.object({
      kind: z.enum(['pg_dump', 'sqlite', 'engine']),
      /** Of `engine`: who holds the database, under which name, and the line that puts it back. */
      engine: z.object({ name: z.string(), server: z.string(), label: z.string(), restore: z.string() }).optional(),
      version: z.string(),
      major: z.number().nullable(),
      bytes: z.number(),
      collation: z.string().nullable(),
      encoding: z.string().nullable(),
      schemaVersion: z.number(),
      compatVersion: z.number().nullable(),
    }),
    /** Of the database of Matrix Authentication Service, where it is in the backup. */
    mas: z.object({ major: z.number(), bytes: z.number() }).optional(),
  }),
  startedAt: z.string(),
  /** When the database was as it is in the dump. */
  databaseAt: z.string(),
  finishedAt: z.string(),
  objects: z.array(object),
  epochs: z.array(z.object({ name: z.string(), recipient: z.string(), object: z.string(), stored })),
  media: z.object({
    files: z.number(),
    bytes: z.number(),
    newFiles: z.number(),
    newBytes: z.number(),
    /** Media that the database names and that have no file. */
    missing: z.number(),
    /** Media whose file is not what the database says it is. */
    wrong: z.number(),
    /** Ids of some of these. */
    examples: z.array(z.string()),
    /** Places where media may lie too, and that are not in this backup. */
    elsewhere: z.array(z.string()),
  }),
  /** What is left out on purpose. */
  excluded: z.array(z.string()),
  /** Files that the homeserver's configuration names, and that were not there. */
  absent: z.array(z.string()).optional(),
  tool: z.object({ steward: z.string(), node: z.string() }),
  /** SHA-256 of the manifest before this one in the same destination. */
  previous: z.string().nullable(),
  ...signed,
});

/** What the database held: rows by table, the hash of its schema, sequences. A proof of an earlier version has it not. */
const held = z.object({ rows: z.record(z.string(), z.number()), schema: z.string(), sequences: z.record(z.string(), z.string()) });

/** Of a look at all media that the homeserver has: how many, and what was found. */
const checkedMedia = z.object({
  media: z.number(),
  bytes: z.number(),
  missing: z.number(),
  wrong: z.number(),
  /** Ids of some of these. */
  examples: z.array(z.string()),
});
export type MediaChecked = z.output<typeof checkedMedia>;

/** What was proven of a backup, and when. */
export const proofShape = z.object({
  format: z.literal('steward/proof/1'),
  id: z.string(),
  /** SHA-256 of the manifest that it is about. */
  manifest: z.string(),
  at: z.string(),
  content: z.object({
    level: z.number(),
    tables: z.number(),
    rows: z.number(),
    seconds: z.number(),
    missing: z.string().nullable(),
    held: held.optional(),
    /** Where all media were held against their rows, and not only what is new. */
    media: checkedMedia.optional(),
    /** Of the database of Matrix Authentication Service: what it came to, and what it held. */
    mas: z.object({ tables: z.number(), rows: z.number(), held }).optional(),
  }),
  object: z.object({ level: z.number() }),
  ...signed,
});

/** What was proven of a backup as it is stored in one destination, by opening it. */
export const objectProofShape = z.object({
  format: z.literal('steward/object-proof/1'),
  id: z.string(),
  destination: z.string(),
  /** SHA-256 of the manifest that it is about. */
  manifest: z.string(),
  at: z.string(),
  level: z.number(),
  /** Why it is no higher one; null where it is what was asked for. */
  missing: z.string().nullable(),
  tables: z.number(),
  rows: z.number(),
  media: z
    .object({ files: z.number(), bytes: z.number(), missing: z.number(), wrong: z.number(), examples: z.array(z.string()) })
    .nullable(),
  /** What kept the homeserver that was started on it from speaking to anybody; null where none was. */
  isolation: z.string().nullable(),
  /** What took how long, in order; seconds. */
  phases: z.array(z.object({ name: z.string(), seconds: z.number() })),
  ...signed,
});

export type ObjectProof = z.output<typeof objectProofShape>;
export type Manifest = z.output<typeof manifestShape>;
export type ManifestObject = z.output<typeof object>;
export type Proof = z.output<typeof proofShape>;

/** What lies in a destination under a name. */
export interface StoredAs {
  name: string;
  stored: z.output<typeof stored>;
}

/** All that a destination must have for a manifest to be true there: objects, media of earlier backups, sealed keys. */
export function objectsOf({ objects, epochs }: Pick<Manifest, 'objects' | 'epochs'>): StoredAs[] {
  return [...objects, ...epochs.map(({ object: name, stored: as }) => ({ name, stored: as }))];
}

type Signed = Record<string, unknown> & { signer: string; signature: string };

/** JSON as it is stored, signed with Ed25519 over its canonical form (RFC 8785) without `signature`. */
export function signRecord<T extends Signed>(record: Omit<T, 'signer' | 'signature'>, key: KeyObject): { record: T; text: string } {
  const signer = publicOf(key);
  const signature = sign(null, signedBytes({ ...record, signer }), key).toString('base64');
  const whole = { ...record, signer, signature } as unknown as T;
  return { record: whole, text: `${JSON.stringify(whole, null, 2)}\n` };
}

/**
 * Reads a signed record of this Steward.
 *
 * @throws Failure `backup.damaged` for one that was changed or cut, `backup.foreign` for one of another Steward
 */
export function readRecord<T extends Signed>(text: string, shape: z.ZodType<T>, key: KeyObject, name: string): T {
  const attempted = `read ${name}`;
  let tree: unknown;
  try {
    tree = JSON.parse(text);
  } catch (error) {
    throw new Failure('backup.damaged', { attempted, reason: 'it is no JSON', cause: error });
  }
  const parsed = shape.safeParse(tree);
  if (!parsed.success) throw new Failure('backup.damaged', { attempted, reason: 'it is not of the form that Steward writes' });
  const { signature, ...rest } = tree as Signed;
  if (!verify(null, signedBytes(rest), publicKey(parsed.data.signer), Buffer.from(signature, 'base64')))
    throw new Failure('backup.damaged', { attempted, reason: 'its signature is not over what it says' });
  if (parsed.data.signer !== publicOf(key)) throw new Failure('backup.foreign', { attempted });
  return parsed.data;
}

function signedBytes(record: object): Buffer {
  const json = canonicalize(record);
  if (json === undefined) throw new TypeError('a record must be JSON');
  return Buffer.from(json);
}

/** Raw public key, base64url. */
export function publicOf(key: KeyObject): string {
  return (key.type === 'public' ? key : createPublicKey(key)).export({ format: 'jwk' }).x ?? '';
}

/** @throws Failure `backup.damaged` for text that is no key */
export function publicKey(raw: string): KeyObject {
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw }, format: 'jwk' });
  } catch (error) {
    throw new Failure('backup.damaged', { attempted: 'read a signed record', reason: 'its signer is no key', cause: error });
  }
}
