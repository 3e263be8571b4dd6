import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { CreateBucketCommand, GetObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startS3, type S3 } from '../../kit/s3.ts';
import { loseMachine, typeSheet } from './support/rescue.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** The machine is lost, and all backups are in a bucket: what an admin fetches from it, and types, is what the rescue sheet says. */

jest.setTimeout(240_000);

let world: RestoreWorld;
let s3: S3;
let eye: S3Client;
let left: string;
const bucket = 'backups';
const prefix = 'homeserver';

beforeAll(async () => {
  left = mkdtempSync(join(tmpdir(), 'left-'));
  s3 = await startS3();
  eye = new S3Client({
    endpoint: s3.url,
    region: s3.region,
    forcePathStyle: true,
    credentials: { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey },
  });
  await eye.send(new CreateBucketCommand({ Bucket: bucket }));
  world = await RestoreWorld.open();
  writeFileSync(join(world.dir, 'bucket-key'), s3.secretAccessKey, { mode: 0o600 });
  const cloud = {
    ...{ endpoint: s3.url, region: s3.region, bucket, prefix, path_style: true },
    ...{ access_key_id: s3.accessKeyId, secret_access_key_file: 'bucket-key' },
  };
  world.configure({
    backup: { destinations: { cloud: { s3: cloud } }, keys: { recipients: [world.recipient('admin')], identity_file: 'own.key' } },
  });
}, 240_000);

afterAll(async () => {
  await world.dispose();
  eye.destroy();
  await s3.dispose();
  rmSync(left, { recursive: true, force: true });
});

/** Into a folder, what the bucket holds under a name. */
async function fetchFrom(under: string, folder: string): Promise<void> {
  const { Contents: found = [] } = await eye.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: `${prefix}/${under}` }));
  for (const { Key = '' } of found) {
    const path = join(folder, Key.slice(prefix.length + 1));
    mkdirSync(dirname(path), { recursive: true });
    const { Body } = await eye.send(new GetObjectCommand({ Bucket: bucket, Key }));
    writeFileSync(path, (await Body?.transformToByteArray()) ?? '');
  }
}

test('by the sheet, the sealed keys and the newest backup the server and Steward come back', async () => {
  await world.upload('of an earlier backup');
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done', result: { newMedia: 1, contentLevel: 4 } });
  await world.upload('of this one');
  const [then, media, files] = [await world.settledOracle(), world.mediaTree(), world.files()];
  const made = (await world.steward('backup create')) as unknown as { outcome: string; result: { id: string; newMedia: number } };
  expect(made).toMatchObject({ outcome: 'done', result: { newMedia: 1 } });
  cpSync(join(world.dir, 'admin.key'), join(left, 'my.key'));
  await loseMachine(world);
  expect(existsSync(world.configPath)).toBe(false);

  const folder = join(left, 'fetched');
  // No pack of the earlier backup: Steward reads that from the bucket.
  for (const under of ['RESCUE.txt', 'rescue/', `${made.result.id}/`]) await fetchFrom(under, folder);
  const sheet = readFileSync(join(folder, 'RESCUE.txt'), 'utf8');
  expect(sheet).toContain(`s3://${bucket}/${prefix}`);
  expect(sheet).not.toContain(s3.secretAccessKey);
  expect(typeSheet(world, { folder, key: join(left, 'my.key'), bin: join(left, 'bin'), sheet })).toBe('');

  expect(await world.answers()).toBe(true);
  expect(await world.settledOracle()).toBe(then);
  expect(world.mediaTree()).toBe(media);
  expect(world.files()).toBe(files);
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done', result: { newMedia: 0, contentLevel: 3 } });
});
