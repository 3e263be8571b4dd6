import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { stringify } from 'yaml';
import { synapseControl, type SynapseControl } from '../../kit/synapse-control.ts';
import { startSynapse, type Synapse } from '../../kit/synapse.ts';
import { signingKey } from '../../src/backup/keys.ts';
import { signRecord, type Manifest } from '../../src/backup/manifest.ts';
import { Reloadable } from '../../src/config/reloadable.ts';
import { openCore, type Core } from '../../src/core.ts';
import { answers as answersAt } from './support/answers.ts';
import { runLine, type ShellReply } from './support/core-shell.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { hasSmallDisks, SmallDisk } from './support/small-disk.ts';
import { until } from './support/until.ts';

/** The same gates for a homeserver on SQLite: a file beside the live one, and a rename. */

jest.setTimeout(120_000);

let dir: string;
let synapse: Synapse;
let control: SynapseControl;
let core: Core;
/** Of the homeserver. */
let disk: SmallDisk | null = null;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'restore-sqlite-'));
  const home = join(dir, 'synapse');
  if (hasSmallDisks) disk = new SmallDisk(home, '256m');
  synapse = await startSynapse({ dir: home, serverName: 'example.org', config: { pid_file: join(home, 'homeserver.pid') } });
  const alice = await synapse.register({ localpart: 'alice', admin: true });
  await synapse.stop();
  control = await synapseControl(home);
  run(control.start);
  await until(answers, 60_000, 'Synapse answers');
  for (const name of ['admin', 'own']) spawnSync('age-keygen', ['-o', join(dir, `${name}.key`)]);
  const recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'admin.key'), 'utf8'))?.[0];
  writeFileSync(join(dir, 'token'), alice.accessToken, { mode: 0o600 });
  writeFileSync(
    join(dir, 'steward.yaml'),
    stringify({
      data_dir: 'data',
      homeserver: { url: synapse.url, server_name: 'example.org', user_id: alice.userId, access_token_file: 'token' },
      stack: { homeserver_config: [synapse.configPath], components: { synapse: control } },
      backup: { destinations: { disk: { directory: join(dir, 'disk') } }, keys: { recipients: [recipient] } },
    }),
  );
  core = await openCore(new Reloadable(join(dir, 'steward.yaml'), {}), silentLog);
}, 180_000);

afterAll(async () => {
  core.close();
  run(control.stop);
  await until(() => run(control.status) !== 0, 30_000, 'Synapse is stopped');
  await synapse.dispose();
  disk?.dispose();
  rmSync(dir, { recursive: true, force: true });
});

function run([program = '', ...args]: readonly string[]): number | null {
  return spawnSync(program, args).status;
}

const answers = (): Promise<boolean> => answersAt(synapse.url);

const steward = (line: string, secrets: Record<string, string> = {}): Promise<ShellReply> =>
  runLine(core, line, { secrets, breakGlass: 'test' });

/** Rows of the tables that people write to, by SQLite itself. */
function oracle(file = 'homeserver.db'): string {
  const database = new DatabaseSync(join(synapse.dir, file), { readOnly: true });
  try {
    return ['users', 'events', 'rooms', 'profiles', 'local_media_repository', 'schema_version']
      .map((table) => {
        const rows = database.prepare(`SELECT * FROM ${table}`).all();
        return `${table} ${createHash('sha256')
          .update(
            rows
              .map((row) => JSON.stringify(row))
              // Of the account that a cutover is verified with its name stays.
              .filter((row) => !row.includes('@steward-probe-'))
              .sort()
              .join('\n'),
          )
          .digest('hex')}`;
      })
      .join('\n');
  } finally {
    database.close();
  }
}

test('prepares, cuts over, goes back and finishes, by the key of an admin alone', async () => {
  const then = oracle();
  expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
  await synapse.register({ localpart: 'later' });
  const now = oracle();
  expect(now).not.toBe(then);
  // Steward has no key of its own here.
  expect(await steward('restore prepare latest --yes')).toMatchObject({ errorId: 'backup.no-key' });
  const identity = readFileSync(join(dir, 'admin.key'), 'utf8');
  const prepared = await steward('restore prepare latest --yes', { identity });
  expect(prepared).toMatchObject({ outcome: 'done' });
  const { id } = prepared.result as { id: string };
  expect(oracle()).toBe(now);
  expect(oracle(`homeserver.db.restore-${id}`)).toBe(then);
  expect(await steward('restore cutover latest')).toMatchObject({ outcome: 'done' });
  expect(await answers()).toBe(true);
  expect(oracle()).toBe(then);
  expect(oracle(`homeserver.db.before-${id}`)).toBe(now);
  expect(await steward('restore undo latest --yes')).toMatchObject({ outcome: 'done' });
  expect(await answers()).toBe(true);
  expect(oracle()).toBe(now);
  expect(await steward('restore cutover latest')).toMatchObject({ outcome: 'done' });
  expect(oracle()).toBe(then);
  expect(await steward('restore finish latest')).toMatchObject({ outcome: 'done' });
  expect(readdirSync(synapse.dir).filter((name) => /restore|before/.test(name))).toEqual([]);
  expect(await answers()).toBe(true);
});

(hasSmallDisks ? test : test.skip)('a full disk is seen before, and where it fills meanwhile nothing is left', async () => {
  const identity = readFileSync(join(dir, 'admin.key'), 'utf8');
  const now = oracle();
  const said = async (): Promise<string> => JSON.stringify((await steward('restore prepare latest --yes', { identity })).parts);
  await disk?.fillTo(1 << 20);
  expect(await said()).toMatch(/has 1\.\d MB free, and about \d+(\.\d)? MB are needed \(restore\.no-space\)/);
  // As if the copy were as small as its manifest says.
  const [backup = ''] = readdirSync(join(dir, 'disk')).filter((name) => /^\d/.test(name));
  const manifest = join(dir, 'disk', backup, 'manifest.json');
  const record = JSON.parse(readFileSync(manifest, 'utf8')) as Manifest;
  const { signer, signature, ...rest } = record;
  expect([signer, signature]).not.toContain('');
  rest.server.database.bytes = 1;
  writeFileSync(manifest, signRecord<Manifest>(rest, signingKey(join(dir, 'data/backup-signing.key'))).text);
  expect(await said()).toMatch(/cannot load the database: the disk of .*homeserver\.db\.restore-\d+_\d+ is full \(restore\.no-space\)/);
  expect(readdirSync(synapse.dir).filter((name) => /restore|before/.test(name))).toEqual([]);
  expect(readdirSync(join(dir, 'data/restores'))).toEqual([]);
  disk?.empty();
  expect(oracle()).toBe(now);
  expect(await answers()).toBe(true);
  expect(await steward('restore prepare latest --yes', { identity })).toMatchObject({ outcome: 'done' });
  expect(await steward('restore finish latest')).toMatchObject({ outcome: 'done' });
});

describe('of a file that is gone or damaged', () => {
  const live = (): string => join(synapse.dir, 'homeserver.db');
  const identity = (): Record<string, string> => ({ identity: readFileSync(join(dir, 'admin.key'), 'utf8') });
  let then: string;
  let killed = 0;

  /** The log of a homeserver that was killed stays beside its file. */
  async function kill(): Promise<void> {
    killed += 1;
    await synapse.register({ localpart: `since-${killed}` });
    process.kill(Number(readFileSync(join(synapse.dir, 'homeserver.pid'), 'utf8')), 'SIGKILL');
    await until(() => run(control.status) !== 0, 30_000, 'Synapse is gone');
    expect(statSync(`${live()}-wal`).size).toBeGreaterThan(0);
  }

  const check = (): unknown => {
    const database = new DatabaseSync(live(), { readOnly: true });
    try {
      return database.prepare('PRAGMA integrity_check').all();
    } finally {
      database.close();
    }
  };

  beforeAll(async () => {
    expect(await steward('backup create')).toMatchObject({ outcome: 'done' });
    then = oracle();
  });

  afterEach(() => steward('restore finish latest'));

  test.each<[string, () => void]>([
    ['gone', () => rmSync(live())],
    ['overwritten', () => writeFileSync(live(), 'no database at all '.repeat(1000))],
  ])('%s: what its log holds is not written into the restored one', async (_, lose) => {
    await kill();
    lose();

    expect(await steward('restore prepare latest --only database --yes', identity())).toMatchObject({ outcome: 'done' });
    expect(await steward('restore cutover latest')).toMatchObject({ outcome: 'done' });

    expect(await answers()).toBe(true);
    expect(oracle()).toBe(then);
    expect(check()).toEqual([{ integrity_check: 'ok' }]);
  });

  test('a clone does not take its place', async () => {
    await kill();
    const whole = readFileSync(live());
    writeFileSync(live(), 'no database at all');
    const reply = await steward('restore prepare latest --as-clone --yes', identity());
    expect(reply.outcome).not.toBe('done');
    writeFileSync(live(), whole);
    run(control.start);
    await until(answers, 60_000, 'Synapse answers');
  });
});
