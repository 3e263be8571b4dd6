import { expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import type { Destination } from '../../src/backup/destinations/destination.ts';

/** What every destination must do. @param open one that is empty */
export function destinationSuite(open: () => Promise<Destination>): void {
  async function* chunks(...parts: (string | Buffer | Error)[]): AsyncGenerator<Uint8Array> {
    for (const part of parts) {
      if (part instanceof Error) throw part;
      yield await Promise.resolve(Buffer.from(part));
    }
  }
  const names = async (destination: Destination, prefix = ''): Promise<string[]> => {
    const found: string[] = [];
    for await (const { name } of destination.list(prefix)) found.push(name);
    return found.sort();
  };

  test('gives back what was put, with the size and hash it counted itself', async () => {
    const destination = await open();
    const large = Buffer.alloc((3 << 20) + 7, 'x');
    const stored = await destination.put('a/b/large.age', chunks('head', large));
    const whole = Buffer.concat([Buffer.from('head'), large]);
    expect(stored).toEqual({ bytes: whole.length, sha256: createHash('sha256').update(whole).digest('hex') });
    expect((await buffer(destination.get('a/b/large.age'))).equals(whole)).toBe(true);
    expect(await destination.size('a/b/large.age')).toBe(whole.length);
    expect((await destination.put('a/empty', chunks())).bytes).toBe(0);
    expect(await destination.size('a/empty')).toBe(0);
  });

  test('has nothing of a put whose source fails, and keeps what was there', async () => {
    const destination = await open();
    const fault = new Error('the source broke');
    await expect(destination.put('x/new', chunks('half', fault))).rejects.toBe(fault);
    expect(await destination.size('x/new')).toBeNull();
    await destination.put('x/old', chunks('old'));
    await expect(destination.put('x/old', chunks('new', fault))).rejects.toBe(fault);
    expect((await buffer(destination.get('x/old'))).toString()).toBe('old');
    expect(await names(destination)).toEqual(['x/old']);
    await destination.put('x/old', chunks('newer'));
    expect((await buffer(destination.get('x/old'))).toString()).toBe('newer');
  });

  test('lists below a prefix, and clears it, twice', async () => {
    const destination = await open();
    for (const name of ['one/a', 'one/b/c', 'ones/d']) await destination.put(name, chunks(name));
    expect(await names(destination)).toEqual(['one/a', 'one/b/c', 'ones/d']);
    expect(await names(destination, 'one/')).toEqual(['one/a', 'one/b/c']);
    expect(await names(destination, 'none/')).toEqual([]);
    await destination.clear('one/');
    await destination.clear('one/');
    expect(await names(destination)).toEqual(['ones/d']);
  });

  test('removes one object, twice', async () => {
    const destination = await open();
    for (const name of ['one/a', 'one/b']) await destination.put(name, chunks(name));
    await destination.remove('one/a');
    await destination.remove('one/a');
    expect(await names(destination)).toEqual(['one/b']);
    expect(await destination.size('one/a')).toBeNull();
  });

  test('says so when there is nothing of a name', async () => {
    const destination = await open();
    expect(await destination.size('no/such')).toBeNull();
    await expect(buffer(destination.get('no/such'))).rejects.toMatchObject({ id: 'backup.missing' });
  });

  test.each(['../out', 'a/../../out', '/etc/passwd', 'a//b', 'a/', '', '.hidden', 'a\0b'])(
    'takes no name that could leave it: %j',
    async (name) => {
      const destination = await open();
      await expect(destination.put(name, chunks('x'))).rejects.toThrow(TypeError);
    },
  );

  test('knows how much fits, or says that it cannot', async () => {
    const free = await (await open()).free();
    expect(free === null || free > 0).toBe(true);
  });
}
