import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { CreateBucketCommand, CreateMultipartUploadCommand, ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { stringify } from 'yaml';
import { startProxy, type FaultAction, type Proxy, type ProxiedRequest } from '../../kit/proxy.ts';
import { startS3, type S3 } from '../../kit/s3.ts';
import { startSynapse, type Account, type Synapse } from '../../kit/synapse.ts';
import { S3Destination, type S3Settings } from '../../src/backup/destinations/s3.ts';
import { systemClock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { destinationSuite } from '../suites/destination.ts';

/** Backups in a bucket of a real server that speaks S3; what lies there is read past the code under test, in the server's folder. */

jest.setTimeout(120_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');

let s3: S3;
let proxy: Proxy;
let eye: S3Client;
let made = 0;

beforeAll(async () => {
  s3 = await startS3();
  proxy = await startProxy(s3.url);
  eye = new S3Client({
    endpoint: s3.url,
    region: s3.region,
    forcePathStyle: true,
    credentials: { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey },
  });
}, 180_000);

afterEach(() => {
  proxy.assertAllReached();
});

afterAll(async () => {
  eye.destroy();
  await proxy.stop();
  await s3.dispose();
});

async function newBucket(locks = false): Promise<string> {
  made += 1;
  const Bucket = `bucket-${made}`;
  await eye.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: locks }));
  return Bucket;
}

const settingsOf = (bucket: string, more: Partial<S3Settings> = {}): S3Settings => ({
  ...{ endpoint: s3.url, region: s3.region, bucket, prefix: '', accessKeyId: s3.accessKeyId, pathStyle: true },
  secretAccessKey: new Secret(s3.secretAccessKey),
  ...more,
});
const destinationIn = (bucket: string, more: Partial<S3Settings> = {}): S3Destination =>
  new S3Destination('cloud', settingsOf(bucket, more), systemClock);

async function* chunks(...parts: (Buffer | Error)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Error) throw part;
    yield await Promise.resolve(part);
  }
}

async function unfinished(Bucket: string): Promise<number> {
  return ((await eye.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads ?? []).length;
}

describe('a bucket', () => {
  destinationSuite(async () => destinationIn(await newBucket()));
});

describe('below a prefix of a bucket that others use', () => {
  destinationSuite(async () => destinationIn(await newBucket(), { prefix: 'steward/of-example' }));

  test('it sees and removes nothing of theirs', async () => {
    const bucket = await newBucket();
    await destinationIn(bucket).put('others/x', chunks(Buffer.from('theirs')));
    await destinationIn(bucket).put('steward2/x', chunks(Buffer.from('theirs')));
    const ours = destinationIn(bucket, { prefix: 'steward' });
    await ours.put('others/x', chunks(Buffer.from('ours')));
    await ours.clear('others/');
    expect(readFileSync(join(s3.root, bucket, 'others/x'), 'utf8')).toBe('theirs');
    expect(readFileSync(join(s3.root, bucket, 'steward2/x'), 'utf8')).toBe('theirs');
    expect(existsSync(join(s3.root, bucket, 'steward/others/x'))).toBe(false);
  });
});

describe('an object of many parts', () => {
  // Two whole parts and a rest.
  const content = randomBytes((70 << 20) + 11);
  const parts = (): Buffer[] =>
    Array.from({ length: Math.ceil(content.length / (1 << 20)) }, (_, n) => content.subarray(n << 20, (n + 1) << 20));
  const sha256 = createHash('sha256').update(content).digest('hex');
  const isPart = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'PUT' && path.includes('partNumber=2');

  test('is on the server what was put', async () => {
    const bucket = await newBucket();
    expect(await destinationIn(bucket).put('big', chunks(...parts()))).toEqual({ bytes: content.length, sha256 });
    expect(
      createHash('sha256')
        .update(readFileSync(join(s3.root, bucket, 'big')))
        .digest('hex'),
    ).toBe(sha256);
  });

  test.each<[string, FaultAction]>([
    ['500', { status: 500, body: '<Error><Code>InternalError</Code></Error>' }],
    ['429', { status: 429, body: '<Error><Code>TooManyRequests</Code></Error>', headers: { 'retry-after': '1' } }],
    ['503 SlowDown', { status: 503, body: '<Error><Code>SlowDown</Code></Error>' }],
    ['a cut connection', 'reset'],
    ['no word of what it did', 'forward-then-reset'],
  ])('survives %s', async (_, action) => {
    const bucket = await newBucket();
    const destination = destinationIn(bucket, { endpoint: proxy.url });
    proxy.fault({ name: 'a part', match: isPart, action, times: 2 });
    expect(await destination.put('big', chunks(...parts()))).toEqual({ bytes: content.length, sha256 });
    expect(
      createHash('sha256')
        .update(readFileSync(join(s3.root, bucket, 'big')))
        .digest('hex'),
    ).toBe(sha256);
    expect(await unfinished(bucket)).toBe(0);
  });

  // S3 may begin to answer before it knows: the error then comes with 200.
  test.each<[string, number]>([
    ['once is put together by another try', 1],
    ['always is a failure, and nothing is there', Infinity],
  ])('whose parts are refused with 200 %s', async (_, times) => {
    const bucket = await newBucket();
    const fault = proxy.fault({
      name: 'at the end',
      match: ({ method, path }) => method === 'POST' && path.includes('uploadId='),
      action: { status: 200, body: '<?xml version="1.0"?><Error><Code>InternalError</Code><Message>try again</Message></Error>' },
      times,
    });
    const put = destinationIn(bucket, { endpoint: proxy.url }).put('big', chunks(...parts()));
    if (times === 1) expect(await put).toEqual({ bytes: content.length, sha256 });
    else await expect(put).rejects.toMatchObject({ id: 'backup.destination-failed', reason: expect.stringContaining('InternalError') });
    fault.remove();
    expect(existsSync(join(s3.root, bucket, 'big'))).toBe(times === 1);
    expect(await unfinished(bucket)).toBe(0);
  });

  test('that never comes to its end leaves nothing', async () => {
    const bucket = await newBucket();
    const fault = proxy.fault({
      name: 'always',
      match: isPart,
      action: { status: 500, body: '<Error><Code>InternalError</Code></Error>' },
      times: Infinity,
    });
    await expect(destinationIn(bucket, { endpoint: proxy.url }).put('big', chunks(...parts()))).rejects.toMatchObject({
      id: 'backup.destination-failed',
      reason: expect.stringContaining('InternalError (500)'),
    });
    fault.remove();
    const broken = new Error('the source broke');
    await expect(destinationIn(bucket).put('big', chunks(...parts().slice(0, 40), broken))).rejects.toBe(broken);
    expect(await unfinished(bucket)).toBe(0);
    expect(existsSync(join(s3.root, bucket, 'big'))).toBe(false);
  });

  test('cut while it is read is a failure, and no short object', async () => {
    const bucket = await newBucket();
    await destinationIn(bucket).put('big', chunks(...parts()));
    const isGet = ({ method, path }: Readonly<ProxiedRequest>): boolean => method === 'GET' && path.startsWith(`/${bucket}/big`);
    proxy.fault({ name: 'half', match: isGet, action: 'half' });
    const read = buffer(destinationIn(bucket, { endpoint: proxy.url }).get('big')).then((found) => found.length);
    // Whoever reads compares hashes; a short answer that looks whole must not pass for the object.
    expect(await read.catch(() => 0)).not.toBe(content.length);
  });

  test('whose access key expires on the way is said to be that, and what it left goes with its folder', async () => {
    const bucket = await newBucket();
    const destination = destinationIn(bucket, { endpoint: proxy.url });
    const fault = proxy.fault({
      name: 'expired',
      match: ({ method, path }) => path.startsWith(`/${bucket}/`) && (method === 'DELETE' || path.includes('partNumber=2')),
      action: { status: 400, body: '<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>' },
      times: Infinity,
    });
    await expect(destination.put('20261122_021500/big', chunks(...parts()))).rejects.toMatchObject({
      id: 'backup.destination-failed',
      reason: expect.stringContaining('ExpiredToken (400)'),
      hint: expect.stringContaining('secret_access_key_file'),
    });
    // Nothing could be taken away with that key either.
    expect(await unfinished(bucket)).toBe(1);
    fault.remove();
    await destination.clear('20261122_021500/');
    expect(await unfinished(bucket)).toBe(0);
  });

  test('what an upload that was killed left is cleared with its folder', async () => {
    const bucket = await newBucket();
    const child = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', killed(bucket)], {
      encoding: 'utf8',
      env: { ...process.env, SECRET: s3.secretAccessKey },
    });
    expect(child.signal).toBe('SIGKILL');
    expect(await unfinished(bucket)).toBe(1);
    await destinationIn(bucket).clear('20261122_021500/');
    expect(await unfinished(bucket)).toBe(0);
  });

  test('more of them than one answer of the service tells are cleared all', async () => {
    const bucket = await newBucket();
    const begin = (n: number): Promise<unknown> =>
      eye.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: `20261122_021500/media/pack-${n}` }));
    for (let n = 0; n < 1050; n += 50) await Promise.all(Array.from({ length: 50 }, (_, at) => begin(n + at)));
    const { IsTruncated, Uploads } = await eye.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    expect([IsTruncated, Uploads?.length]).toEqual([true, 1000]);
    await destinationIn(bucket).abandon('20261122_021500/');
    expect(await unfinished(bucket)).toBe(0);
  });

  /** A program that dies while it stores. */
  const killed = (bucket: string): string => `
    import { S3Destination } from ${JSON.stringify(resolve(import.meta.dirname, '../../src/backup/destinations/s3.ts'))};
    import { Secret } from ${JSON.stringify(resolve(import.meta.dirname, '../../src/config/secret.ts'))};
    async function* chunks() {
      for (let n = 0; n < 200; n += 1) yield Buffer.alloc(1 << 20, n);
      process.kill(process.pid, 'SIGKILL');
    }
    const settings = ${JSON.stringify({ ...settingsOf(bucket), secretAccessKey: undefined })};
    await new S3Destination('cloud', { ...settings, secretAccessKey: new Secret(process.env.SECRET) }, { now: () => Date.now() }).put('20261122_021500/big', chunks());
  `;
});

describe('what is read, listed and removed survives', () => {
  test.each<[string, FaultAction]>([
    ['500', { status: 500, body: '<Error><Code>InternalError</Code></Error>' }],
    ['429', { status: 429, body: '<Error><Code>TooManyRequests</Code></Error>' }],
    ['503 SlowDown', { status: 503, body: '<Error><Code>SlowDown</Code></Error>' }],
    ['a cut connection', 'reset'],
  ])('%s', async (_, action) => {
    const bucket = await newBucket();
    await destinationIn(bucket).put('one/a', chunks(Buffer.from('there')));
    const destination = destinationIn(bucket, { endpoint: proxy.url });
    const strike = (): void => void proxy.fault({ name: 'at first', match: ({ path }) => path.startsWith(`/${bucket}`), action, times: 2 });
    const names: string[] = [];
    strike();
    expect((await buffer(destination.get('one/a'))).toString()).toBe('there');
    strike();
    expect(await destination.size('one/a')).toBe(5);
    strike();
    for await (const { name } of destination.list('')) names.push(name);
    expect(names).toEqual(['one/a']);
    strike();
    await destination.clear('one/');
    expect(existsSync(join(s3.root, bucket, 'one/a'))).toBe(false);
  });
});

describe('an object of more parts than S3 takes', () => {
  const bounds = { partSize: 5 << 20, parts: 3 };
  const largest = bounds.partSize * bounds.parts;
  const boundedIn = (bucket: string): S3Destination => new S3Destination('cloud', settingsOf(bucket), systemClock, bounds);
  const full = (): Buffer[] => Array.from({ length: 15 }, (_, n) => Buffer.alloc(1 << 20, n));

  test('is one byte larger than the largest', async () => {
    const bucket = await newBucket();
    expect(new S3Destination('cloud', settingsOf(bucket), systemClock).largest).toBe(10_000 * (32 << 20));
    expect(boundedIn(bucket).largest).toBe(largest);
    expect(await boundedIn(bucket).put('whole', chunks(...full()))).toMatchObject({ bytes: largest });
    expect(statSync(join(s3.root, bucket, 'whole')).size).toBe(largest);
  });

  test('is given up when it is found out, and nothing of it stays; the failure says what to do', async () => {
    const bucket = await newBucket();
    await boundedIn(bucket).put('big', chunks(Buffer.from('of before')));
    let read = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (const chunk of full()) yield await Promise.resolve(chunk);
      for (;;) {
        read += 1;
        yield Buffer.alloc(1);
      }
    }
    const failure = await boundedIn(bucket)
      .put('big', endless())
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({
      id: 'backup.object-too-large',
      attempted: 'store big in cloud',
      reason: `s3://${bucket} takes objects of 15.7 MB at most, and this one has more`,
      hint: expect.stringMatching(/pgBackRest.*backup\.destinations/),
    });
    expect(read).toBe(1);
    expect(await unfinished(bucket)).toBe(0);
    expect(readFileSync(join(s3.root, bucket, 'big'), 'utf8')).toBe('of before');
  });
});

describe('what the service refuses is said', () => {
  test.each<[string, Partial<S3Settings>, string, string]>([
    ['a wrong secret', { secretAccessKey: new Secret('wrong') }, 'SignatureDoesNotMatch', 'access key'],
    ['a wrong key', { accessKeyId: 'nobody' }, 's3://bucket-', ''],
    ['no bucket', { bucket: 'no-such-bucket' }, 'NoSuchBucket', 'Make the bucket'],
    ['nobody there', { endpoint: 'http://127.0.0.1:9' }, 'ECONNREFUSED', ''],
  ])('%s', async (_, more, words, hint) => {
    const failure = destinationIn(await newBucket(), more).put('x', chunks(Buffer.from('x')));
    await expect(failure).rejects.toMatchObject({
      id: 'backup.destination-failed',
      reason: expect.stringContaining(words),
      hint: expect.stringContaining(hint),
    });
    await expect(failure).rejects.not.toMatchObject({ reason: expect.stringContaining(s3.secretAccessKey) });
  });

  test('an access key that has expired', async () => {
    proxy.fault({
      name: 'expired',
      match: ({ method }) => method === 'PUT',
      action: { status: 400, body: '<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>' },
    });
    await expect(destinationIn(await newBucket(), { endpoint: proxy.url }).put('x', chunks(Buffer.from('x')))).rejects.toMatchObject({
      id: 'backup.destination-failed',
      reason: expect.stringContaining('ExpiredToken'),
      hint: expect.stringContaining('expired'),
    });
  });

  test.each([
    ['an hour ahead', 3_600_000],
    ['a day behind', -86_400_000],
  ])('a clock that is %s does no harm where the service says its time', async (_, skew) => {
    const bucket = await newBucket();
    const settings = JSON.stringify({ ...settingsOf(bucket), secretAccessKey: undefined });
    const program = `
      const now = Date.now;
      const RealDate = Date;
      globalThis.Date = class extends RealDate { constructor(...args) { args.length === 0 ? super(now() + ${skew}) : super(...args); } static now() { return now() + ${skew}; } };
      const { S3Destination } = await import(${JSON.stringify(resolve(import.meta.dirname, '../../src/backup/destinations/s3.ts'))});
      const { Secret } = await import(${JSON.stringify(resolve(import.meta.dirname, '../../src/config/secret.ts'))});
      const place = new S3Destination('cloud', { ...${settings}, secretAccessKey: new Secret(process.env.SECRET) }, { now: () => Date.now() });
      async function* chunks() { yield Buffer.from('there'); }
      await place.put('x', chunks()).then(() => console.log('stored'), (error) => console.log(error.message + ' ' + error.hint));
      process.exit();
    `;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program],
      {
        encoding: 'utf8',
        env: { ...process.env, SECRET: s3.secretAccessKey },
      },
    );
    expect(stdout + stderr).toBe('stored\n');
    expect(readFileSync(join(s3.root, bucket, 'x'), 'utf8')).toBe('there');
  });

  test('a clock that is wrong, where that cannot be mended', async () => {
    const fault = proxy.fault({
      name: 'skew',
      match: ({ method }) => method === 'PUT',
      action: { status: 403, body: '<Error><Code>RequestTimeTooSkewed</Code></Error>' },
      times: Infinity,
    });
    await expect(destinationIn(await newBucket(), { endpoint: proxy.url }).put('x', chunks(Buffer.from('x')))).rejects.toMatchObject({
      id: 'backup.destination-failed',
      hint: expect.stringContaining('timedatectl'),
    });
    fault.remove();
  });

  test('a service that takes and never answers is given up', async () => {
    const fault = proxy.fault({ name: 'hang', match: ({ method }) => method === 'PUT', action: 'hang', times: Infinity });
    const place = new S3Destination('cloud', settingsOf(await newBucket(), { endpoint: proxy.url }), systemClock, { idle: 200 });
    await expect(place.put('x', chunks(Buffer.from('x')))).rejects.toMatchObject({ id: 'backup.destination-failed' });
    expect(fault.hits).toBeGreaterThan(1);
    fault.remove();
  });

  test('what is locked cannot be removed, and can be read', async () => {
    const bucket = await newBucket(true);
    const destination = destinationIn(bucket, { lock: { days: 1, mode: 'compliance' } });
    await destination.put('kept', chunks(Buffer.from('kept')));
    const versions = await eye.send(new (await import('@aws-sdk/client-s3')).ListObjectVersionsCommand({ Bucket: bucket }));
    const [version] = versions.Versions ?? [];
    const { DeleteObjectCommand } = await import('@aws-sdk/client-s3');
    await expect(eye.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'kept', VersionId: version?.VersionId }))).rejects.toThrow();
    expect((await buffer(destination.get('kept'))).toString()).toBe('kept');
  });
});

describe('a backup of a homeserver', () => {
  let dir: string;
  let synapse: Synapse;
  let alice: Account;
  let bucket: string;

  beforeAll(async () => {
    bucket = await newBucket();
    dir = mkdtempSync(join(tmpdir(), 's3-backup-'));
    synapse = await startSynapse({ dir: join(dir, 'synapse'), serverName: 'example.org' });
    alice = await synapse.register({ localpart: 'alice', admin: true });
    for (const [name, content] of [
      ['token', alice.accessToken],
      ['s3-secret', s3.secretAccessKey],
    ] as const)
      writeFileSync(join(dir, name), content, { mode: 0o600 });
    spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
    const recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8'))?.[0];
    const cloud = {
      endpoint: s3.url,
      region: s3.region,
      bucket,
      prefix: 'matrix',
      access_key_id: s3.accessKeyId,
      secret_access_key_file: 's3-secret',
    };
    writeFileSync(
      join(dir, 'steward.yaml'),
      stringify({
        data_dir: 'data',
        homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
        stack: { homeserver_config: [synapse.configPath] },
        backup: { destinations: { cloud: { s3: cloud } }, keys: { recipients: [recipient] } },
      }),
    );
  }, 120_000);

  afterAll(async () => {
    await synapse.dispose();
    rmSync(dir, { recursive: true, force: true });
  });

  const steward = (...words: string[]): { status: number | null; out: string } => {
    const args = ['--disable-warning=ExperimentalWarning', main, ...words, '--config', join(dir, 'steward.yaml')];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    return { status, out: stdout + stderr };
  };

  test('is made, proven, read again, and opened by age; the secret is nowhere', () => {
    const created = steward('backup', 'create');
    expect(created).toMatchObject({ status: 0, out: expect.stringContaining('content: L4') });
    expect(created.out).toContain(`s3://${bucket}/matrix`);
    const top = join(s3.root, bucket, 'matrix');
    const [id = ''] = readdirSync(top).sort();
    expect(steward('backup', 'verify', 'latest')).toMatchObject({ status: 0 });
    const keys = join(top, id, 'keys');
    const epoch = readdirSync(keys).find((name) => name.startsWith('epoch-')) ?? '';
    const script = `age -d -i my.key ${keys}/${epoch} > epoch.key; age -d -i epoch.key ${top}/${id}/database/homeserver.db.zst.age | zstd -q -d | head -c 15`;
    expect(spawnSync('bash', ['-e', '-c', script], { cwd: dir, encoding: 'utf8' }).stdout).toBe('SQLite format 3');
    const secret = spawnSync('grep', ['-rlF', s3.secretAccessKey, join(dir, 'data'), s3.root], { encoding: 'utf8' });
    expect(secret.stdout).toBe('');

    const path = join(top, id, 'database/homeserver.db.zst.age');
    const content = readFileSync(path);
    content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
    writeFileSync(path, content);
    expect(steward('backup', 'verify', 'latest')).toMatchObject({ status: 1, out: expect.stringContaining('backup.damaged') });
  });

  test('neither, and both, are mistakes of the configuration', () => {
    const path = join(dir, 'steward.yaml');
    const held = readFileSync(path, 'utf8');
    writeFileSync(path, held.replace('    cloud:', '    cloud:\n      directory: /tmp/x'));
    expect(steward('backup', 'list')).toMatchObject({ status: 2, out: expect.stringContaining('either `directory` or `s3`') });
    writeFileSync(path, held);
  });
});
