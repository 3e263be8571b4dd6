import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Homeserver } from './support/homeserver.ts';
import { canMount, withMounts } from './support/namespace.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';
import { until } from './support/until.ts';

/** One store and two programs: a newer version that migrates it, and shells and daemons beside each other. */

jest.setTimeout(60_000);

let home: Homeserver;

beforeAll(async () => {
  home = await Homeserver.start();
});

afterEach(() => {
  home.proxy.assertAllReached();
});

afterAll(() => home.dispose());

const sentinel = '!server version';
const root = resolve(import.meta.dirname, '../..');
const current = join(root, 'src/main.ts');

/** A version of Steward that is newer by one migration, which needs half a megabyte. @returns its main file */
function newerVersion(dir: string): string {
  const newer = join(dir, 'newer');
  cpSync(join(root, 'src'), join(newer, 'src'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(newer, 'node_modules'));
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as object;
  writeFileSync(join(newer, 'package.json'), JSON.stringify({ ...manifest, version: '9.9.9' }));
  const path = join(newer, 'src/store/migrations.ts');
  const migrations = readFileSync(path, 'utf8').trimEnd();
  expect(migrations).toMatch(/\n\];$/);
  const step = `{ since: '9.9.9', sql: "CREATE TABLE more (x BLOB) STRICT; INSERT INTO more VALUES (zeroblob(500000))" },`;
  writeFileSync(path, migrations.replace(/\];$/, `${step}\n];\n`));
  return join(newer, 'src/main.ts');
}

interface Ended {
  exit: number | null;
  out: string;
  err: string;
}

/** Runs a version of Steward to its end. */
function runAs(main: string, steward: Steward, words: readonly string[], wrap: readonly string[] = []): Ended {
  const [program, ...args] = [
    ...wrap,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    main,
    ...words,
    '--config',
    steward.configPath,
  ];
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: steward.dir, encoding: 'utf8', timeout: 40_000 });
  return { exit: status, out: stdout, err: stderr };
}

function schemaOf(path: string): { version: number; tables: unknown[] } {
  const database = new DatabaseSync(path);
  try {
    return {
      version: Number(database.prepare('PRAGMA user_version').get()?.['user_version']),
      tables: database
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        .all()
        .map((row) => row['name']),
    };
  } finally {
    database.close();
  }
}

const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

test('a store that a newer version has migrated is refused with the version that it needs; the copy from before runs on', async () => {
  const steward = await home.steward();
  await steward.alice.ask('!user create copied1');
  await steward.stop();
  const store = join(steward.dataDir, 'steward.db');
  const before = schemaOf(store);
  const newer = newerVersion(steward.dir);

  expect(runAs(newer, steward, ['--version']).out).toBe('9.9.9\n');
  expect(runAs(newer, steward, ['user', 'info', 'copied1'])).toMatchObject({
    exit: 0,
    out: expect.stringContaining('@copied1:steward.test'),
  });

  expect(schemaOf(store).version).toBe(before.version + 1);
  const migrated = digest(store);
  for (const words of [['run'], ['user', 'list']]) {
    const ended = runAs(current, steward, words);
    expect(ended).toMatchObject({ exit: 3, out: '' });
    expect(ended.err).toMatch(
      /error: cannot open the store .*: it needs Steward 9\.9\.9 \(store\.newer\)\nhint: Install the version that is named, or restore the copy beside the store\.\n$/,
    );
  }
  expect(digest(store)).toBe(migrated);

  const copy = `${store}.v${before.version}`;
  expect(statSync(copy).mode & 0o777).toBe(0o600);
  expect(schemaOf(copy)).toEqual(before);
  renameSync(copy, store);
  await steward.start();
  expect(bodyOf(await steward.alice.prompt(await steward.alice.say('!undo')))).toContain('@copied1:steward.test');
});

(canMount ? describe : describe.skip)('on a disk with too little space', () => {
  let steward: Steward;
  let saved: string;

  beforeAll(async () => {
    steward = await home.steward();
    await steward.alice.ask('!user create tight1');
    await steward.stop();
    saved = join(steward.dir, 'saved');
    renameSync(steward.dataDir, saved);
    mkdirSync(steward.dataDir);
  });

  /** Runs a version of Steward on a copy of the store that is on a disk with `left` bytes free. @returns also the folder with what it left there */
  function tightly(main: string, words: readonly string[], left: number, reserve = false): Ended & { kept: string } {
    const kept = join(steward.dir, `kept-${left}`);
    const data = `'${steward.dataDir}'`;
    const script = [
      `mount -t tmpfs -o size=6m,mode=700 tmpfs ${data}`,
      `cp -a '${saved}'/. ${data}`,
      ...(reserve ? [] : [`rm ${data}/audit/reserve`]),
      `cat /dev/zero > ${data}/filler 2>/dev/null || true`,
      `truncate -s -${left} ${data}/filler`,
      `code=0; "$@" || code=$?`,
      `mkdir -p '${kept}'; cp -a ${data}/steward.db* '${kept}'`,
      `exit $code`,
    ].join('\n');
    return { ...runAs(main, steward, words, withMounts(script)), kept };
  }

  test('it gives back what it had kept: reads are answered, changes refused with the reason', async () => {
    expect(tightly(current, ['user', 'info', 'tight1'], 0, true)).toMatchObject({ exit: 0, out: expect.stringContaining('@tight1:') });
    const refused = tightly(current, ['user', 'create', 'tight2'], 4096, true);
    expect(refused).toMatchObject({ exit: 1, out: '' });
    expect(refused.err).toMatch(/error: cannot run `user create`: the disk is full \(audit\.unwritable\)\nhint: /);
    expect(await home.account('tight2')).toBeNull();
  });

  test('and nothing kept it does not start, and says why', () => {
    const { kept, ...ended } = tightly(current, ['run'], 0);

    expect(ended).toMatchObject({ exit: 1, out: '' });
    expect(ended.err).toMatch(
      /error: cannot .*: the disk is full \(store\.unwritable\)\nhint: Is the disk full, or the file read-only\?\n$/,
    );
    expect(digest(join(kept, 'steward.db'))).toBe(digest(join(saved, 'steward.db')));
  });

  test('nothing is kept of a migration that there is no space for', () => {
    const { kept, ...ended } = tightly(newerVersion(steward.dir), ['help'], statSync(join(saved, 'steward.db')).size + 300_000);

    expect(ended).toMatchObject({ exit: 1, out: '' });
    expect(ended.err).toMatch(/error: cannot open the store .*steward\.db: the disk is full \(store\.unwritable\)\n/);
    expect(schemaOf(join(kept, 'steward.db'))).toEqual(schemaOf(join(saved, 'steward.db')));
    expect(readdirSync(kept)).toContain(`steward.db.v${schemaOf(join(saved, 'steward.db')).version}`);
  });
});

test('a daemon that is killed lets go of the store at once', async () => {
  const steward = await home.steward();
  await steward.kill();

  const begin = performance.now();
  const { exit } = await steward.shell('help');

  expect(exit).toBe(0);
  expect(performance.now() - begin).toBeLessThan(4000);
  await steward.start();
  expect(resultOf(await steward.alice.ask(sentinel))?.outcome).toBe('done');
});

test('with a daemon a second shell does not wait for the first', async () => {
  const steward = await home.steward({ proxied: true });
  const slow = home.proxy.fault({ name: 'a slow list', match: ({ path }) => path.includes('name=slowly'), action: { delay: 8000 } });
  const ends: string[] = [];
  const first = steward.shell('user', 'list', 'slowly').finally(() => ends.push('first'));
  await until(() => slow.hits === 1, 10_000, 'the first is at work');

  const begin = performance.now();
  const second = await steward.shell('user', 'list', '--admins').finally(() => ends.push('second'));

  expect(second).toMatchObject({ exit: 0, err: '', out: expect.stringContaining('@alice:steward.test') });
  expect(performance.now() - begin).toBeLessThan(5000);
  expect((await first).exit).toBe(0);
  expect(ends).toEqual(['second', 'first']);
});
