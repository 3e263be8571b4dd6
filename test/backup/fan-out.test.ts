import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectoryDestination } from '../../src/backup/destinations/directory.ts';
import type { Destination } from '../../src/backup/destinations/destination.ts';
import { FanOut } from '../../src/backup/fan-out.ts';
import { destinationSuite } from '../suites/destination.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'fan-out-'));
});
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

const place = (name: string): DirectoryDestination => new DirectoryDestination(name, join(mkdtempSync(join(dir, 'd-')), name));

/** A place that can never be used: a file stands where its folder would be. */
function broken(name: string): DirectoryDestination {
  const at = join(mkdtempSync(join(dir, 'b-')), name);
  writeFileSync(at, '');
  return new DirectoryDestination(name, at);
}

/** One that reads so many chunks and then fails. */
function failsAfter(chunks: number): Destination {
  return Object.assign(place('weak'), {
    async put(_: string, source: AsyncIterable<Uint8Array>) {
      let read = 0;
      for await (const chunk of source) {
        read += 1;
        if (read > chunks) throw new Error(`no room for ${chunk.length} bytes`);
      }
      throw new Error('it was to fail before');
    },
  });
}

async function* chunks(count: number, fault?: Error): AsyncGenerator<Uint8Array> {
  for (let n = 0; n < count; n += 1) yield await Promise.resolve(Buffer.alloc(1 << 20, n));
  if (fault !== undefined) throw fault;
}

const objects = (destination: Destination): string[] => {
  try {
    return readdirSync(destination.place, { recursive: true }).map(String).sort();
  } catch {
    return [];
  }
};

describe('two folders as one', () => {
  destinationSuite(() => {
    const [one, other] = [place('one'), place('other')];
    const both = new FanOut([one, other]).to();
    return Promise.resolve(Object.assign(new DirectoryDestination('both', one.place), both));
  });
});

test('each has what was put, read once', async () => {
  const all = [place('one'), place('two'), place('three')];
  let given = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks(40)) {
      given += 1;
      yield chunk;
    }
  }
  const stored = await new FanOut(all).to().put('a/b', counted());
  expect({ bytes: stored.bytes, given }).toEqual({ bytes: 40 << 20, given: 40 });
  const [first, ...others] = all.map(({ place: at }) => readFileSync(join(at, 'a/b')));
  for (const other of others) expect(other.equals(first ?? Buffer.alloc(0))).toBe(true);
});

test.each<[string, () => Destination]>([
  ['at once', () => broken('weak')],
  ['half-way', () => failsAfter(20)],
])('one that fails %s is left out, and the others go on', async (_, open) => {
  const [good, weak] = [place('good'), open()];
  const fan = new FanOut([weak, good]);
  expect((await fan.to().put('a', chunks(40))).bytes).toBe(40 << 20);
  expect(fan.left()).toEqual([good]);
  expect(fan.lost.map(({ destination }) => destination.name)).toEqual(['weak']);
  await fan.to().put('b', chunks(1));
  expect([objects(good), objects(weak)]).toEqual([['a', 'b'], []]);
});

test('where the last one fails, the source is ended and the failure thrown', async () => {
  const fan = new FanOut([failsAfter(3), failsAfter(5)]);
  let ended = false;
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield* chunks(10);
    } finally {
      ended = true;
    }
  }
  await expect(fan.to().put('a', endless())).rejects.toThrow('no room');
  expect({ ended, left: fan.left().length, lost: fan.lost.length }).toEqual({ ended: true, left: 0, lost: 2 });
});

test('what the source throws is nobody’s failure but its own', async () => {
  const [one, other] = [place('one'), place('other')];
  const fan = new FanOut([one, other]);
  const fault = new Error('the source broke');
  await expect(fan.to().put('a', chunks(30, fault))).rejects.toBe(fault);
  expect(fan.lost).toEqual([]);
  expect([...objects(one), ...objects(other)]).toEqual([]);
});

test('the slowest of those that go on sets the pace', async () => {
  let held = 0;
  let most = 0;
  const slow = Object.assign(place('slow'), {
    async put(_: string, source: AsyncIterable<Uint8Array>) {
      for await (const chunk of source) {
        await new Promise((done) => setImmediate(done));
        held -= chunk.length;
      }
      return { bytes: 0, sha256: '' };
    },
  });
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks(60)) {
      held += chunk.length;
      most = Math.max(most, held);
      yield chunk;
    }
  }
  await new FanOut([slow, place('fast')])
    .to()
    .put('a', counted())
    .catch(() => undefined);
  expect(most).toBeLessThan(30 << 20);
});
