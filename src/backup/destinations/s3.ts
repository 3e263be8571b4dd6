import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type * as S3 from '@aws-sdk/client-s3';
import type { S3Client, S3ServiceException } from '@aws-sdk/client-s3';
import type { Clock } from '../../clock.ts';
import type { Secret } from '../../config/secret.ts';
import { Failure } from '../../failures/failure.ts';
import { Tap } from '../../stack/stream.ts';
import { tooLarge } from '../space.ts';
import { assertObjectName, type Destination, type Stored, type StoredObject } from './destination.ts';

export interface S3Settings {
  /** Address of the service; AWS's own of the region when left out. */
  endpoint?: string | undefined;
  region: string;
  bucket: string;
  /** Before every name, without a slash at either end; empty for the whole bucket. */
  prefix: string;
  accessKeyId: string;
  secretAccessKey: Secret;
  /** Bucket in the path instead of in the host name. */
  pathStyle: boolean;
  /** S3 Object Lock: for so many days nobody can remove what was stored. */
  lock?: { days: number; mode: 'governance' | 'compliance' } | undefined;
}

type Sdk = typeof S3;

export interface S3Bounds {
  /** Milliseconds after which a request on which nothing moves is given up and tried again. */
  idle: number;
  /** Bytes of one part; two of them are in memory at once. */
  partSize: number;
  /** How many an object may have. */
  parts: number;
}

/** S3 takes 10 000 parts: an object of 312 GiB. */
const usual: S3Bounds = { idle: 120_000, partSize: 32 << 20, parts: 10_000 };
const partsAtOnce = 2;
const attempts = 5;
const day = 86_400_000;
/** Milliseconds for a connection. */
const connectBound = 10_000;
/** How many DeleteObjects takes. */
const deletedAtOnce = 1000;

/** A bucket of a service that speaks S3. An object is there when its upload is complete; what is not is aborted. */
export class S3Destination implements Destination {
  readonly name: string;
  readonly place: string;
  readonly access: string;
  readonly largest: number;
  readonly #settings: S3Settings;
  readonly #clock: Clock;
  readonly #bounds: S3Bounds;
  #opened: Promise<{ sdk: Sdk; client: S3Client; reader: S3Client }> | null = null;

  constructor(name: string, settings: S3Settings, clock: Clock, bounds: Partial<S3Bounds> = {}) {
    this.name = name;
    this.#clock = clock;
    this.#settings = settings;
    this.#bounds = { ...usual, ...bounds };
    this.largest = this.#bounds.partSize * this.#bounds.parts;
    this.access = `${settings.endpoint ?? 'AWS'}, region ${settings.region}, access key ${settings.accessKeyId}`;
    this.place = `s3://${settings.bucket}${settings.prefix === '' ? '' : `/${settings.prefix}`}`;
  }

  async put(name: string, chunks: AsyncIterable<Uint8Array>): Promise<Stored> {
    const Key = this.#key(name);
    const { client } = await this.#open();
    const { Upload } = await import('@aws-sdk/lib-storage');
    const tap = new Tap();
    const source = pipeline(Readable.from(this.#bounded(name, chunks), { objectMode: false }), tap);
    const upload = new Upload({
      client,
      params: { ...this.#bucket, Key, Body: tap, ...this.#lock() },
      partSize: this.#bounds.partSize,
      queueSize: partsAtOnce,
    });
    const done = upload.done();
    // Each ends the other: a source that breaks ends the stream that is uploaded, an upload that fails ends its source.
    done.catch(() => tap.destroy());
    const [uploaded, read] = await Promise.allSettled([done, source]);
    // What the source threw is its own failure.
    if (read.status === 'rejected' && !isClosed(read.reason)) throw read.reason;
    if (uploaded.status === 'rejected') throw this.#failure(uploaded.reason, `store ${name} in ${this.name}`);
    return { bytes: tap.bytes, sha256: tap.digest() };
  }

  async *get(name: string): AsyncGenerator<Uint8Array> {
    const Key = this.#key(name);
    const attempted = `read ${name} in ${this.name}`;
    try {
      const { sdk, reader } = await this.#open();
      const { Body } = await reader.send(new sdk.GetObjectCommand({ ...this.#bucket, Key }));
      yield* Body as AsyncIterable<Uint8Array>;
    } catch (error) {
      if (isMissing(error)) throw new Failure('backup.missing', { attempted, cause: error });
      throw this.#failure(error, attempted);
    }
  }

  async size(name: string): Promise<number | null> {
    const Key = this.#key(name);
    try {
      const { sdk, client } = await this.#open();
      const { ContentLength } = await client.send(new sdk.HeadObjectCommand({ ...this.#bucket, Key }));
      return ContentLength ?? null;
    } catch (error) {
      if (isMissing(error)) return null;
      throw this.#failure(error, `look at ${name} in ${this.name}`);
    }
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    const top = this.#top;
    try {
      const { sdk, client } = await this.#open();
      const pages = sdk.paginateListObjectsV2({ client }, { ...this.#bucket, Prefix: `${top}${prefix}` });
      for await (const { Contents = [] } of pages)
        for (const { Key = '', Size = 0 } of Contents) yield { name: Key.slice(top.length), bytes: Size };
    } catch (error) {
      throw this.#failure(error, `list ${this.name}`);
    }
  }

  async remove(name: string): Promise<void> {
    const Key = this.#key(name);
    try {
      const { sdk, client } = await this.#open();
      await client.send(new sdk.DeleteObjectCommand({ ...this.#bucket, Key }));
    } catch (error) {
      throw this.#failure(error, `remove ${name} in ${this.name}`);
    }
  }

  async clear(prefix: string): Promise<void> {
    const attempted = `clear ${prefix} in ${this.name}`;
    const names: string[] = [];
    for await (const { name } of this.list(prefix)) names.push(name);
    try {
      const { sdk, client } = await this.#open();
      for (let at = 0; at < names.length; at += deletedAtOnce) {
        const Objects = names.slice(at, at + deletedAtOnce).map((name) => ({ Key: this.#key(name) }));
        const { Errors = [] } = await client.send(new sdk.DeleteObjectsCommand({ ...this.#bucket, Delete: { Objects, Quiet: true } }));
        const [first] = Errors;
        if (first !== undefined)
          throw new Failure('backup.destination-failed', { attempted, reason: `${first.Code ?? ''}: ${first.Key ?? ''}` });
      }
    } catch (error) {
      throw this.#failure(error, attempted);
    }
    await this.abandon(prefix);
  }

  async abandon(prefix: string): Promise<void> {
    try {
      const { sdk, client } = await this.#open();
      const wanted = { ...this.#bucket, Prefix: `${this.#top}${prefix}` };
      // Not by the markers of a page: what they name is gone by then, which not every service takes.
      for (let isLast = false; !isLast;) {
        const { Uploads = [], IsTruncated } = await client.send(new sdk.ListMultipartUploadsCommand(wanted));
        for (const { Key, UploadId } of Uploads) await client.send(new sdk.AbortMultipartUploadCommand({ ...this.#bucket, Key, UploadId }));
        isLast = IsTruncated !== true || Uploads.length === 0;
      }
    } catch (error) {
      throw this.#failure(error, `tidy ${prefix} in ${this.name}`);
    }
  }

  /** A bucket does not say. */
  free(): Promise<null> {
    return Promise.resolve(null);
  }

  /** @throws Failure `backup.object-too-large` before the chunk with which it is */
  async *#bounded(name: string, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > this.largest) throw tooLarge(this, `store ${name} in ${this.name}`, 'this one has more');
      yield chunk;
    }
  }

  get #bucket(): { Bucket: string } {
    return { Bucket: this.#settings.bucket };
  }

  /** What all keys begin with. */
  get #top(): string {
    const { prefix } = this.#settings;
    return prefix === '' ? '' : `${prefix}/`;
  }

  #key(name: string): string {
    assertObjectName(name);
    return `${this.#top}${name}`;
  }

  #lock(): { ObjectLockMode: 'GOVERNANCE' | 'COMPLIANCE'; ObjectLockRetainUntilDate: Date } | undefined {
    const { lock } = this.#settings;
    if (lock === undefined) return undefined;
    return {
      ObjectLockMode: lock.mode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE',
      ObjectLockRetainUntilDate: new Date(this.#clock.now() + lock.days * day),
    };
  }

  /** The library is loaded where a bucket is used: it costs a third of a second and 30 MiB. */
  #open(): Promise<{ sdk: Sdk; client: S3Client; reader: S3Client }> {
    const { endpoint, region, accessKeyId, secretAccessKey, pathStyle } = this.#settings;
    this.#opened ??= import('@aws-sdk/client-s3').then((sdk) => {
      const clientWith = (bounds: { socketTimeout?: number }): S3Client =>
        new sdk.S3Client({
          region,
          ...(endpoint === undefined ? {} : { endpoint }),
          forcePathStyle: pathStyle,
          credentials: { accessKeyId, secretAccessKey: secretAccessKey.reveal() },
          maxAttempts: attempts,
          requestHandler: { connectionTimeout: connectBound, ...bounds },
        });
      // What is read may wait for whoever takes it: a database that builds an index reads nothing for minutes.
      return { sdk, client: clientWith({ socketTimeout: this.#bounds.idle }), reader: clientWith({}) };
    });
    return this.#opened;
  }

  #failure(error: unknown, attempted: string): unknown {
    if (error instanceof Failure) return error;
    if (isMismatch(error)) return new Failure('backup.damaged', { attempted, reason: 'its content is not what was stored', cause: error });
    if (!isService(error)) return error;
    const name = error.code ?? (error.name === 'Error' ? error.message : error.name);
    const status = error.$metadata?.httpStatusCode;
    if (status === 507 || /quota|insufficientstorage|storagefull/i.test(name))
      return new Failure('backup.destination-full', { attempted, reason: `${this.place} is full`, cause: error });
    return new Failure('backup.destination-failed', {
      attempted,
      reason: `${this.place}: ${name}${status === undefined ? '' : ` (${status})`}`,
      ...hintOf(name, status),
      cause: error,
    });
  }
}

/** What mends a refusal that has one cause. */
function hintOf(name: string, status: number | undefined): { hint: string } | Record<string, never> {
  if (name === 'RequestTimeTooSkewed') return { hint: "This machine's clock is wrong: `timedatectl`." };
  if (/^ExpiredToken/.test(name)) return { hint: 'The access key has expired: put a new one into the file of `secret_access_key_file`.' };
  if (status === 401 || status === 403)
    return { hint: 'Are the access key and its secret still the right ones, and may they write to this bucket?' };
  if (name === 'NoSuchBucket') return { hint: 'Make the bucket; Steward does not.' };
  return {};
}

/** The service's answer, or a connection that broke. */
function isService(error: unknown): error is Error & Partial<Pick<S3ServiceException, '$metadata'>> & { code?: string } {
  if (!(error instanceof Error)) return false;
  return (
    '$metadata' in error || '$fault' in error || typeof (error as NodeJS.ErrnoException).code === 'string' || error.name === 'TimeoutError'
  );
}

/** The library compares what it reads with the checksum that lies beside it. */
function isMismatch(error: unknown): boolean {
  return error instanceof Error && /^checksum mismatch/i.test(error.message);
}

function isMissing(error: unknown): boolean {
  return isService(error) && (error.name === 'NoSuchKey' || error.name === 'NotFound');
}

/** What a stream says of itself that was ended because of something else. */
function isClosed(error: unknown): boolean {
  const { code, name } = error as NodeJS.ErrnoException;
  return code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ERR_STREAM_DESTROYED' || name === 'AbortError';
}
