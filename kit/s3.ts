import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cached, type Progress, toStderr } from './cache.ts';
import { hasProgram, MissingPart } from './debian.ts';
import { freePort, run, startChild, waitUntilReady } from './process.ts';

/** The server that speaks S3, by its module and version. */
const gateway = { module: 'github.com/versity/versitygw/cmd/versitygw', version: 'v1.8.0' } as const;

export interface S3 {
  url: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Folder in which a bucket is a folder, and an object a file. */
  root: string;
  dispose(): Promise<void>;
}

/** Path of versitygw, built from its Go module once. Errors: MissingPart. */
export async function ensureS3(progress: Progress = toStderr): Promise<string> {
  return cached(`versitygw-${gateway.version}`, async (path) => {
    if (!hasProgram('go')) throw new MissingPart('Go 1.25 or newer, from https://go.dev/dl');
    progress('building versitygw (about a minute)');
    const bin = await mkdtemp(join(tmpdir(), 'versitygw-'));
    try {
      await run(['go', 'install', `${gateway.module}@${gateway.version}`], { env: { GOBIN: bin, CGO_ENABLED: '0' } });
      await copyFile(join(bin, 'versitygw'), path);
    } finally {
      await rm(bin, { recursive: true, force: true });
    }
  });
}

/** An S3 server on loopback over a folder of its own, with versions of objects, so that they can be locked. */
export async function startS3(): Promise<S3> {
  const program = await ensureS3();
  const dir = await mkdtemp(join(tmpdir(), 'steward-s3-'));
  const [root, versions, logPath] = [join(dir, 'root'), join(dir, 'versions'), join(dir, 's3.log')];
  for (const folder of [root, versions]) await mkdir(folder);
  const port = await freePort();
  const [accessKeyId, secretAccessKey] = [randomBytes(8).toString('hex'), randomBytes(16).toString('hex')];
  const region = 'eu-central-1';
  const child = await startChild({
    command: [program, '--port', `127.0.0.1:${port}`, '--region', region, 'posix', '--versioning-dir', versions, root],
    env: { ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey },
    logPath,
  });
  const url = `http://127.0.0.1:${port}`;
  await waitUntilReady('versitygw', child, logPath, async () => (await fetch(url)).status > 0);
  return {
    ...{ url, region, accessKeyId, secretAccessKey, root },
    async dispose() {
      await child.kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
