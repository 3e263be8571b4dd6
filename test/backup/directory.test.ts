import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
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
