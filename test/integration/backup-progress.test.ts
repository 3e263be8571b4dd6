import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensurePostgres, sql, startPostgres, type Postgres } from '../../kit/postgres.ts';
import { systemClock } from '../../src/clock.ts';
import { HostStack } from '../../src/stack/host/host.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, relationOf, resultOf } from './support/seat.ts';
import { until } from './support/until.ts';

/** What those who wait for a long backup are told meanwhile: from a PostgreSQL whose dump is held up in the midst of a table. */

jest.setTimeout(90_000);

/** Its text is more than all pipes hold, compressed too. */
const rows = 200_000;
let dir: string;
let postgres: Postgres;
let home: Homeserver;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'backup-progress-'));
  postgres = await startPostgres();
  const database = await postgres.createDatabase({ name: 'synapse' });
  home = await Homeserver.start({}, database);
  await sql(
    database,
    `CREATE TABLE zz_large AS SELECT n, (SELECT string_agg(md5(n || ':' || i), '') FROM generate_series(1, 10) AS i) AS words FROM generate_series(1, ${rows}) AS n; ANALYZE;`,
  );
}, 120_000);

afterAll(async () => {
  await home.dispose();
  await postgres.dispose();
  rmSync(dir, { recursive: true, force: true });
});

test('the table that is copied, how much of it, and how much of all', async () => {
  const stack = new HostStack(
    {
      ...{ homeserverConfig: [home.synapse.configPath], components: {} },
      ...{ copiesDir: join(dir, 'copies'), restoresDir: join(dir, 'restores') },
    },
    systemClock,
  );
  const dump = await stack.dumpDatabase(new AbortController().signal);
  try {
    // Nobody reads it: it stands where the pipes are full.
    const now = await until(
      async () => {
        const found = await dump.progress();
        return found?.table === 'zz_large' && found.bytes > 0 ? found : null;
      },
      30_000,
      'it is in the large table',
    );
    expect(now.bytes).toBeLessThan(rows * 400);
    // By far the largest table, and the last one: what was copied of it, and what is before it.
    expect(now.share).toBeGreaterThan(0.01);
    expect(now.share).toBeLessThan(0.5);
  } finally {
    dump.stream.abort();
    await dump.snapshot.close();
  }
  await dump.stream.proof;
  await until(async () => (await dump.progress()) === null, 10_000, 'it is not under way any more');
});

test('in the room one message says so, edited as it goes on; what is uploaded meanwhile spoils nothing', async () => {
  // The real programs; what pg_dump writes stops in the large table until the test lets it go.
  const programs = join(dir, 'programs');
  // A server that is thrown away runs as another user.
  chmodSync(dir, 0o755);
  mkdirSync(programs);
  const real = await ensurePostgres();
  for (const name of ['pg_restore', 'initdb', 'postgres', 'pg_ctl', 'psql', 'createdb'])
    symlinkSync(join(real, name), join(programs, name));
  writeFileSync(
    join(programs, 'pg_dump'),
    `#!/bin/bash\nset -o pipefail\nif [ "$1" = --version ]; then exec ${real}/pg_dump --version; fi\n${real}/pg_dump "$@" | (head -c 8000000; while [ ! -e ${join(dir, 'go')} ]; do sleep 0.1; done; cat)\n`,
  );
  chmodSync(join(programs, 'pg_dump'), 0o755);
  spawnSync('age-keygen', ['-o', join(dir, 'my.key')]);
  const recipient = /age1[a-z0-9]+/.exec(readFileSync(join(dir, 'my.key'), 'utf8'))?.[0];
  const steward = await home.steward({
    config: {
      stack: { homeserver_config: [home.synapse.configPath], postgres_programs: programs },
      backup: { destinations: { disk: { directory: join(dir, 'disk') } }, keys: { recipients: [recipient] } },
    },
  });

  await home.carol.client.upload('there before');
  const said = await steward.alice.say('!backup create');
  await steward.alice.hears((body) => /the database, about \d+ %: zz_large, \d.*B\./.test(body), 40_000);
  // The dump does not know of this one, which is there when media are copied.
  await home.carol.client.upload('came meanwhile');
  writeFileSync(join(dir, 'go'), '');
  const answer = await steward.alice.answer(said, 60_000);

  expect(resultOf(answer)?.outcome).toBe('done');
  const told = (await steward.alice.history()).filter((event) => bodyOf(event).includes('⏳ backup create: '));
  expect(told.filter((event) => relationOf(event)['rel_type'] !== 'm.replace')).toHaveLength(1);
  expect(bodyOf(answer)).toContain('media: 2 new of 2 files');
  // Each row of the dump has its file, by the stored copy alone.
  const key = join(dir, 'my.key');
  const verified = await steward.shell('backup', 'verify', 'latest', '--level', '4', '--identity-file', key, '--json');
  expect(verified).toMatchObject({ exit: 0, err: '' });
  expect((JSON.parse(verified.out) as { result: unknown }).result).toMatchObject({
    destinations: [{ objectLevel: 4, media: 2, mediaMissing: 0, mediaWrong: 0 }],
  });
});
