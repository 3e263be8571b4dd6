import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileRestore } from '../../src/stack/host/restore-files.ts';
import { readMasConfig, type HostConfig } from '../../src/stack/mas-config.ts';
import { tarOf } from '../../src/stack/host/tar.ts';

/** Files of a restore, by the configuration as it is read each time. */

const signal = new AbortController().signal;
let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'restore-files-'));
  path = join(dir, 'mas.yaml');
});

afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

/** Called anew for each step, as each step of a restore does. */
function restore(): FileRestore {
  return new FileRestore(join(dir, 'aside/id/files'), async () => {
    const mas = await readMasConfig([path]);
    return {
      signingKeyPath: '',
      configFiles: [],
      includedFiles: mas.configFiles,
      secretFiles: mas.secretFiles,
      mas,
    } as unknown as HostConfig;
  });
}

/** Stages files that a backup has for these paths. */
async function stage(contents: Record<string, string>): Promise<string[]> {
  mkdirSync(join(dir, 'then'), { recursive: true });
  const inputs = Object.entries(contents).map(([at, content], index) => {
    const copy = join(dir, 'then', String(index));
    writeFileSync(copy, content);
    return { path: copy, name: at.slice(1) };
  });
  async function* tar(): AsyncGenerator<Uint8Array> {
    await Promise.resolve();
    yield* tarOf(inputs);
  }
  return (await restore().stage(tar(), signal)).map((staged) => staged.path);
}

const database = 'database: {uri: "postgresql://mas@localhost/mas"}\n';

test('goes back although what was put in place cannot be read', async () => {
  writeFileSync(path, database);
  await stage({ [path]: 'a: [' });
  await restore().swap('in');
  expect(readFileSync(path, 'utf8')).toBe('a: [');
  await expect(readMasConfig([path])).rejects.toMatchObject({ id: 'stack.config-unreadable' });

  await restore().swap('out');

  expect(readFileSync(path, 'utf8')).toBe(database);
});

test.each(['12_34', 'yes', '010', '"12"'])(
  'leaves the password of today as Matrix Authentication Service reads it: %s',
  async (written) => {
    writeFileSync(path, `database:\n  host: today\n  username: mas\n  password: ${written}\n`);
    const then = 'database: {host: then, username: mas, password: then}\nmatrix: {homeserver: example.org}\n';
    await stage({ [path]: then });
    await restore().swap('in');
    const now = readFileSync(path, 'utf8');
    expect(now).toContain('example.org');
    expect(now).toMatch(new RegExp(`^ *password: ${written}$`, 'm'));
  },
);

test('takes the keys of a folder that is lost, and nothing below or beside it', async () => {
  writeFileSync(path, `${database}secrets: {keys_dir: keys}\n`);
  const key = join(dir, 'keys/rsa.pem');
  expect(await stage({ [key]: 'PRIVATE', [join(dir, 'keys/deep/x')]: 'x', [join(dir, 'keys.pem')]: 'x' })).toEqual([key]);
});
