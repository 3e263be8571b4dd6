import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { Tar, tarOf, type TarredFile } from '../../src/stack/host/tar.ts';

/** What GNU tar makes of it. */

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'tar-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

const names = ['a', 'b/ünïcode ☕', `long/${'x'.repeat(95)}`, `longer/${'y'.repeat(120)}/${'z'.repeat(200)}`, 'empty', 'exact', 'large'];

function made(): { path: string; name: string }[] {
  const sizes: Record<string, number> = { empty: 0, exact: 1 << 20, large: 3 * (1 << 20) + 5 };
  return names.map((name, n) => {
    const path = join(dir, 'in', name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, Buffer.alloc(sizes[name] ?? 1000 + n, name), { mode: 0o640 });
    utimesSync(path, 1_700_000_000 + n, 1_700_000_000 + n);
    return { path, name };
  });
}

test('holds names of any length, contents, modes and times', () => {
  const inputs = made();
  const archive = Buffer.concat([...tarOf([...inputs, { path: join(dir, 'none'), name: 'none' }, { path: dir, name: 'folder' }])]);
  expect(archive.length % 512).toBe(0);
  mkdirSync(join(dir, 'out'));
  const result = spawnSync('tar', ['-xp', '-C', join(dir, 'out')], { input: archive });
  expect({ status: result.status, stderr: result.stderr.toString() }).toEqual({ status: 0, stderr: '' });
  for (const { path, name } of inputs) {
    const out = join(dir, 'out', name);
    expect(readFileSync(out).equals(readFileSync(path))).toBe(true);
    const [was, is] = [statSync(path), statSync(out)];
    expect({ mode: is.mode, mtime: is.mtimeMs, uid: is.uid, gid: is.gid }).toEqual({
      mode: was.mode,
      mtime: was.mtimeMs,
      uid: was.uid,
      gid: was.gid,
    });
  }
  const listed = spawnSync('tar', ['-t', '--quoting-style=literal'], { input: archive, env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  expect(listed.stdout.toString().trim().split('\n')).toEqual(names);
});

test('tells the size of a file beyond 8 GiB by a pax header', () => {
  const path = join(dir, 'huge');
  const size = 8 ** 11 + 3;
  writeFileSync(path, '');
  truncateSync(path, size);
  const [first = Buffer.alloc(0)] = new Tar().add({ path, name: 'huge' });
  // GNU tar stops at the end of the piece, and has read the header before.
  const result = spawnSync('tar', ['-tv'], { input: first });
  expect(result.stdout.toString()).toContain(` ${size} `);
});

test('a file that changes while it is read breaks it', () => {
  for (const change of [5 << 20, 1 << 20]) {
    const path = join(dir, 'changing');
    writeFileSync(path, Buffer.alloc(2 << 20));
    const files: TarredFile[] = [];
    const blocks = new Tar((file) => files.push(file)).add({ path, name: 'changing' });
    blocks.next();
    truncateSync(path, change);
    expect(() => [...blocks]).toThrow('changed while it was read');
    expect(files).toEqual([]);
  }
});

test('names the owner, whose number is another one on another machine', () => {
  const path = join(dir, 'owned');
  writeFileSync(path, 'x');
  const asRoot = process.getuid?.() === 0;
  if (asRoot) chownSync(path, 1, 1);
  const archive = Buffer.concat([...tarOf([{ path, name: 'owned' }])]);
  const listed = spawnSync('tar', ['-tv'], { input: archive });
  expect(listed.stdout.toString()).toContain(asRoot ? ' daemon/daemon ' : ` ${userInfo().username}/`);
  if (!asRoot) return;
  const passwd = join(dir, 'passwd');
  writeFileSync(passwd, 'root:x:0:0::/:/bin/sh\ndaemon:x:4242:1::/:/bin/sh\n');
  mkdirSync(join(dir, 'elsewhere'));
  const script = `mount --bind ${passwd} /etc/passwd && tar -xp -C ${join(dir, 'elsewhere')}`;
  expect(spawnSync('unshare', ['-m', 'sh', '-c', script], { input: archive })).toMatchObject({ status: 0 });
  expect(statSync(join(dir, 'elsewhere/owned'))).toMatchObject({ uid: 4242, gid: 1 });
});
