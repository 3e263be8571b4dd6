import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack, type Header } from 'tar-stream';
import { FileRestore } from '../../src/stack/host/restore-files.ts';
import { MediaRestore } from '../../src/stack/host/restore-media.ts';
import type { HostConfig } from '../../src/stack/mas-config.ts';

/** Archives of somebody who wants to write where they should not, unpacked in a real folder, in which every file is then looked at. */

const signal = new AbortController().signal;

let dir: string;
let before: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'hostile-'));
  mkdirSync(join(dir, 'live/media_store/local_content'), { recursive: true });
  mkdirSync(join(dir, 'outside'));
  for (const name of ['live/homeserver.yaml', 'live/signing.key', 'live/secret', 'outside/x'])
    writeFileSync(join(dir, name), `${name} of today`);
  before = tree();
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Every path below the folder but for what a restore holds aside, with type, mode, inode, links and hash. */
function tree(): string {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !path.startsWith(join(dir, 'aside')) && !/media_store\.restore-/.test(path))
    .map((path) => {
      const stats = lstatSync(path);
      // The links of a folder are its folders.
      const file = stats.isFile() ? `${stats.nlink} ${createHash('sha256').update(readFileSync(path)).digest('hex')}` : '';
      return `${path} ${stats.mode} ${stats.ino} ${file}`;
    })
    .sort()
    .join('\n');
}

type Entry = [header: Partial<Header> & { name: string }, content?: string];

/** As tar-stream makes it; a name that the format has no room for goes into a pax header. */
async function tarOf(entries: Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const [header, content] of entries) {
    if (content === undefined) tar.entry(header);
    else tar.entry(header, content);
  }
  tar.finalize();
  return buffer(tar);
}

async function* piecesOf(tar: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < tar.length; at += 1000) {
    yield tar.subarray(at, at + 1000);
    await Promise.resolve();
  }
}

/** The first header of an archive with another size, and a checksum that fits. */
function withSize(tar: Buffer, size: number): Buffer {
  const changed = Buffer.from(tar);
  changed.write(`${size.toString(8).padStart(11, '0')} `, 124);
  changed.write('        ', 148);
  const sum = changed.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  changed.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return changed;
}

const links = (name: string, out: string): [string, Entry[]][] => [
  ['a symbolic link out, and a file through it', [[{ name, type: 'symlink', linkname: out }], [{ name: `${name}/x` }, 'evil']]],
  ['a symbolic link to a file', [[{ name, type: 'symlink', linkname: `${out}/x` }], [{ name }, 'evil']]],
  ['a hard link', [[{ name, type: 'link', linkname: `${out}/x` }], [{ name }, 'evil']]],
  ['a character device', [[{ name, type: 'character-device', devmajor: 1, devminor: 3 }]]],
  ['a block device', [[{ name, type: 'block-device', devmajor: 8, devminor: 0 }]]],
  ['a fifo', [[{ name, type: 'fifo' }]]],
];

describe('keys, configuration and secrets', () => {
  const restore = (): FileRestore =>
    new FileRestore(join(dir, 'aside/20300101_000000/files'), () =>
      Promise.resolve({
        signingKeyPath: join(dir, 'live/signing.key'),
        configFiles: [join(dir, 'live/homeserver.yaml')],
        mas: null,
        includedFiles: [],
        secretFiles: [join(dir, 'live/secret')],
      } as unknown as HostConfig),
    );
  const stage = (tar: Buffer, to?: string) => restore().stage(piecesOf(tar), signal, to);
  const live = (name: string): string => join(dir, 'live', name).slice(1);

  /** Refused; and were it swapped all the same, nothing else than files of the homeserver is touched. */
  async function expectRefused(tar: Buffer, id: string, to?: string): Promise<void> {
    const error: unknown = await stage(tar, to).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ id });
    expect((error as Error).message.length).toBeLessThan(600);
    expect(tree()).toBe(before);
    await restore().drop();
    expect(existsSync(join(dir, 'aside/20300101_000000'))).toBe(false);
  }

  const hostile: [string, () => Entry[]][] = [
    ['a way up', () => [[{ name: '../../etc/x' }, 'evil']]],
    ['a way up out of a known folder', () => [[{ name: `${live('secret')}/../../outside/x` }, 'evil']]],
    ['a way up that ends at a known file', () => [[{ name: `${live('')}/../live/secret` }, 'evil']]],
    ['an absolute path', () => [[{ name: join(dir, 'outside/x') }, 'evil']]],
    ['an absolute path of a known file', () => [[{ name: join(dir, 'live/secret') }, 'evil']]],
    ['a path with a step that is none', () => [[{ name: live('secret').replace('live/', 'live/./') }, 'evil']]],
    ['a newline', () => [[{ name: `${live('secret')}\nx` }, 'evil']]],
    ['a NUL', () => [[{ name: live('secret'), pax: { path: `${live('secret')}\0.yaml` } }, 'evil']]],
    ['a part that no disk takes', () => [[{ name: `tmp/${'n'.repeat(5000)}` }, 'evil']]],
    ['a path that no disk takes', () => [[{ name: `tmp${'/n'.repeat(60_000)}` }, 'evil']]],
    ['no name', () => [[{ name: live('secret'), pax: { path: '/' } }, 'evil']]],
    ['a folder', () => [[{ name: 'etc', type: 'directory' }]]],
    [
      'a file twice',
      () => [
        [{ name: live('secret') }, 'as it was'],
        [{ name: live('secret') }, 'evil'],
      ],
    ],
    ['a file far larger than such files are', () => [[{ name: live('secret') }, 'x'.repeat((16 << 20) + 1)]]],
  ];

  test.each(hostile)('%s', async (_what, entries) => {
    await expectRefused(await tarOf([[{ name: live('homeserver.yaml') }, 'good'], ...entries()]), 'restore.unsafe-name');
  });

  test.each(links('LINK', 'OUT').map(([what]) => what))('%s', async (what) => {
    const entries = links(live('secret'), join(dir, 'outside')).find(([name]) => name === what)?.[1] ?? [];
    await expectRefused(await tarOf(entries), 'restore.unsafe-name');
  });

  test('a file a thousand times what its header says, and one that is not as long', async () => {
    const tar = await tarOf([[{ name: live('secret') }, 'x'.repeat(1_000_000)]]);
    for (const size of [1000, 2_000_000]) await expectRefused(withSize(tar, size), 'backup.unreadable');
    await expectRefused(tar.subarray(0, 5000), 'backup.unreadable');
    await expectRefused(Buffer.alloc(4096, 'no archive'), 'backup.unreadable');
  });

  test('the signing key has one file, whatever that is called', async () => {
    const key = join(dir, 'live/signing.key');
    await expectRefused(
      await tarOf([
        [{ name: 'a' }, 'one'],
        [{ name: 'b' }, 'other'],
      ]),
      'restore.unsafe-name',
      key,
    );
    await expectRefused(await tarOf([[{ name: '../x' }, 'one']]), 'restore.unsafe-name', key);
  });

  test('a file that is none of the homeserver’s is left out, and what is put aside is swapped and nothing else', async () => {
    const tar = await tarOf([
      [{ name: join(dir, 'outside/x').slice(1) }, 'evil'],
      [{ name: live('secret') }, 'as it was'],
    ]);
    expect(await stage(tar)).toEqual([{ path: join(dir, 'live/secret'), live: 'other' }]);
    expect(tree()).toBe(before);
    await restore().swap('in');
    expect(readFileSync(join(dir, 'live/secret'), 'utf8')).toBe('as it was');
    expect(readFileSync(join(dir, 'outside/x'), 'utf8')).toBe('outside/x of today');
  });

  test('modes that would let others in, or run as another, are those of today', async () => {
    chmodSync(join(dir, 'live/secret'), 0o600);
    await stage(await tarOf([[{ name: live('secret'), mode: 0o6777, uid: 65534, gid: 65534 }, 'as it was']]));
    await restore().swap('in');
    const { mode, uid } = statSync(join(dir, 'live/secret'));
    expect({ mode: mode & 0o7777, uid }).toEqual({ mode: 0o600, uid: process.getuid?.() });
  });
});

describe('media', () => {
  const media = (): MediaRestore => new MediaRestore(join(dir, 'live/media_store'), '20300101_000000');
  const aside = (): string => join(dir, 'live/media_store.restore-20300101_000000');
  const inside = 'local_content/aa/bb/file';

  async function expectRefused(tar: Buffer, id: string): Promise<void> {
    await expect(media().stage(piecesOf(tar), () => true, signal)).rejects.toMatchObject({ id });
    expect(tree()).toBe(before);
    await media().drop();
    expect(existsSync(aside())).toBe(false);
  }

  test.each<[string, Entry[]]>([
    ['a way up', [[{ name: '../../etc/x' }, 'evil']]],
    ['a way up below', [[{ name: 'local_content/aa/../../../outside/x' }, 'evil']]],
    ['an absolute path', [[{ name: '/etc/x' }, 'evil']]],
    ['a newline', [[{ name: `${inside}\n` }, 'evil']]],
    ['a NUL', [[{ name: inside, pax: { path: `${inside}\0x` } }, 'evil']]],
    ['a name that no disk takes', [[{ name: `local_content/aa/bb/${'n'.repeat(5000)}` }, 'evil']]],
    ['a thumbnail that no disk takes', [[{ name: `local_thumbnails/aa/bb/cc/${'n'.repeat(5000)}` }, 'evil']]],
    ['a folder', [[{ name: 'local_content', type: 'directory' }]]],
    [
      'a file twice',
      [
        [{ name: inside }, 'as it was'],
        [{ name: inside }, 'evil'],
      ],
    ],
    ...links(inside, '../../../../outside'),
  ])('%s', async (_what, entries) => {
    await expectRefused(await tarOf([[{ name: 'local_content/aa/bb/good' }, 'good'], ...entries]), 'restore.unsafe-name');
  });

  test('a file a thousand times what its header says, and one that is not as long', async () => {
    const tar = await tarOf([[{ name: inside }, 'x'.repeat(1_000_000)]]);
    for (const size of [1000, 2_000_000]) await expectRefused(withSize(tar, size), 'backup.unreadable');
    await expectRefused(tar.subarray(0, 5000), 'backup.unreadable');
  });

  test('of a file that is larger than its list says nothing comes to the disk', async () => {
    const tar = await tarOf([[{ name: inside }, 'x'.repeat(1_000_000)]]);
    expect(await media().stage(piecesOf(tar), (_path, bytes) => bytes === 1000, signal)).toEqual([]);
    expect(existsSync(join(aside(), 'new', inside))).toBe(false);
  });
});
