import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { sql } from '../../kit/postgres.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** Restores that are cut off or given what is bad, on a real Synapse with a real PostgreSQL. psql and sha256sum are the judges. */

jest.setTimeout(600_000);

const main = resolve(import.meta.dirname, '../../src/main.ts');

let world: RestoreWorld;
let old: string;
let new_: string;
let kept: string;
let oldMedia: string;
let newMedia: string;
let oldFiles: string;

beforeAll(async () => {
  world = await RestoreWorld.open();
  kept = await world.upload('kept');
  newMedia = world.mediaTree();
  old = await world.settledOracle();
  new_ = old;
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  await world.synapse.register({ localpart: 'later' });
  rmSync(world.mediaFile(kept));
  old = await world.settledOracle();
  oldMedia = world.mediaTree();
  oldFiles = world.files();
}, 400_000);

afterAll(() => world.dispose());

/** A command in a process of its own; null is how a killed one ends. */
function shell(line: string, env: Record<string, string> = {}): { status: number | null; out: string } {
  world.closeCore();
  const words = [...line.split(' '), '--config', world.configPath];
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...words], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { status, out: stdout + stderr };
}

/** As the next start does it. */
async function restart(): Promise<void> {
  await (await world.core()).restores.recover();
}

const state = async (): Promise<string> => (await world.core()).restores.list()[0]?.state ?? 'none';

async function expectOldServer(): Promise<void> {
  expect(await world.answers()).toBe(true);
  expect(await world.oracle()).toBe(old);
  expect(world.mediaTree()).toBe(oldMedia);
  expect(world.files()).toBe(oldFiles);
  // No door is left closed.
  expect(await sql(world.postgres.superuser, `SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'`)).toBe('');
}

async function expectNothingAside(): Promise<void> {
  expect(await world.databases()).toEqual(['synapse']);
  expect(world.aside()).toEqual([]);
}

/**
 * Kills a command at each of its commits, until it runs to its end: after one is kept, what it announces is not begun; before
 * it is, what the one before announced is done.
 *
 * @returns how often it was killed
 */
async function killEverywhere(
  line: string,
  moment: 'after' | 'before',
  check: () => Promise<void>,
  again: () => Promise<void>,
): Promise<number> {
  for (let n = 1; ; n += 1) {
    const { status } = shell(line, { STEWARD_CRASH_AT: `${moment}:${n}` });
    if (status !== null) return n - 1;
    await restart();
    await check();
    await again();
  }
}

describe('kill -9 at every step', () => {
  test('of prepare leaves nothing, or what was prepared', async () => {
    const kills = await killEverywhere(
      'restore prepare latest --yes',
      'after',
      async () => {
        await expectOldServer();
        if ((await state()) !== 'prepared') await expectNothingAside();
      },
      () => Promise.resolve(),
    );
    expect(kills).toBeGreaterThan(5);
    expect(await state()).toBe('prepared');
    await expectOldServer();
  });

  test('of cutover ends with the old server or the new one', async () => {
    const seen = new Set<string>();
    const kills = await killEverywhere(
      'restore cutover latest --break-glass test',
      'after',
      async () => {
        seen.add(await state());
        if ((await state()) === 'live') {
          expect(await world.answers()).toBe(true);
          expect(await world.oracle()).toBe(new_);
        } else await expectOldServer();
      },
      async () => {
        if ((await state()) === 'live') expect(await world.steward('restore undo latest --yes')).toMatchObject({ outcome: 'done' });
      },
    );
    expect(kills).toBeGreaterThan(10);
    expect([...seen].sort()).toEqual(['live', 'prepared']);
    expect(await state()).toBe('live');
    expect(await world.oracle()).toBe(new_);
  });

  test('of undo ends with the old server', async () => {
    const kills = await killEverywhere(
      'restore undo latest --yes',
      'before',
      async () => {
        if ((await state()) === 'live') expect(await world.oracle()).toBe(new_);
        else await expectOldServer();
      },
      async () => {
        if ((await state()) === 'undone') expect(await world.steward('restore cutover latest')).toMatchObject({ outcome: 'done' });
      },
    );
    expect(kills).toBeGreaterThan(8);
    expect(await state()).toBe('undone');
    await expectOldServer();
  });

  test('of finish leaves what was there, or nothing', async () => {
    const seen = new Set<string>();
    // Where no test before has left one.
    if ((await state()) === 'none') expect(await world.steward('restore prepare latest --yes')).toMatchObject({ outcome: 'done' });
    const kills = await killEverywhere(
      'restore finish latest --break-glass test',
      'after',
      async () => {
        seen.add(await state());
        await expectOldServer();
        if ((await state()) === 'finished') await expectNothingAside();
        else expect(await world.databases()).toHaveLength(2);
      },
      async () => {
        if ((await state()) === 'finished') expect(await world.steward('restore prepare latest --yes')).toMatchObject({ outcome: 'done' });
      },
    );
    expect(kills).toBeGreaterThan(5);
    expect([...seen].sort()).toContain('finished');
    expect(await state()).toBe('finished');
    await expectNothingAside();
  });

  test.each(['after', 'before'] as const)(
    'of finish of one that is live, %s it, leaves the new server and a way back, or none',
    async (moment) => {
      const live = async (): Promise<void> => {
        // So that the restore brings it back.
        rmSync(world.mediaFile(kept), { force: true });
        expect(await world.steward('restore prepare latest --yes')).toMatchObject({ outcome: 'done' });
        expect(await world.steward('restore cutover latest')).toMatchObject({ outcome: 'done' });
      };
      await live();
      const seen = new Set<string>();
      const kills = await killEverywhere(
        'restore finish latest --break-glass test',
        moment,
        async () => {
          const { id, state: now } = (await world.core()).restores.find('latest');
          seen.add(now);
          expect(await world.answers()).toBe(true);
          expect(await world.oracle()).toBe(new_);
          expect(world.mediaTree()).toBe(newMedia);
          const listed = await world.steward('restore list');
          expect(JSON.stringify(listed.parts)).toMatch(new RegExp(`"code":"${id}"\\}\\],\\["[^"]+"\\],\\["${now}"\\]`));
          if (now === 'finished') await expectNothingAside();
          else {
            expect(await world.databases()).toEqual(['synapse', `synapse_before_${id}`]);
            expect(world.aside()).not.toEqual([]);
          }
        },
        async () => {
          if ((await state()) === 'finished') await live();
        },
      );
      expect(kills).toBeGreaterThan(5);
      expect([...seen].sort()).toEqual(['finished', 'live']);
      expect(await state()).toBe('finished');
      await expectNothingAside();
      expect(await world.oracle()).toBe(new_);
      expect(world.mediaTree()).toBe(newMedia);
    },
  );
});
