import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectoryDestination } from '../../src/backup/destinations/directory.ts';
import { destinationSuite } from '../suites/destination.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'directory-'));
});
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

describe('a folder', () => {
  destinationSuite(() => Promise.resolve(new DirectoryDestination('disk', join(mkdtempSync(join(dir, 'd-')), 'made/when/needed'))));

  test('is closed to others, and holds no unfinished file', async () => {
    const place = join(dir, 'modes');
    async function* content(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(Buffer.from('x'));
    }
    await new DirectoryDestination('disk', place).put('20261122_021500/manifest.json', content());
    expect(statSync(join(place, '20261122_021500')).mode & 0o777).toBe(0o700);
    expect(statSync(join(place, '20261122_021500/manifest.json')).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(place, '20261122_021500'))).toEqual(['manifest.json']);
  });
});

test('a place in which no folder can be made is told at once, whatever the file system answers', async () => {
  // As an automounter does for a disk that is away, /proc answers that there is no such folder.
  const destination = new DirectoryDestination('nas', '/proc/steward-is-away/backups');
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(Buffer.from('x'));
  }
  expect(await destination.free()).toBeNull();
  await expect(destination.put('a/b', chunks())).rejects.toMatchObject({
    id: 'backup.destination-failed',
    reason: '/proc/steward-is-away/backups: ENOENT',
  });
  const file = new DirectoryDestination('file', join(dir, 'a-file/backups'));
  writeFileSync(join(dir, 'a-file'), '');
  await expect(file.put('a/b', chunks())).rejects.toMatchObject({ id: 'backup.destination-failed' });
});
