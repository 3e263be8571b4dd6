import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { createHash } from 'node:crypto';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { stringify } from 'yaml';
import { sql, startPostgres, type Postgres } from '../../kit/postgres.ts';
import { run } from '../../kit/process.ts';
import { ensureSynapse, startSynapse, type Synapse } from '../../kit/synapse.ts';
import { DirectoryDestination } from '../../src/backup/destinations/directory.ts';
import { tryMas } from '../../src/backup/mas.ts';
import { sealInto } from '../../src/backup/object.ts';
import type { Held } from '../../src/backup/prove.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { HostStack, type HostSettings } from '../../src/stack/host/host.ts';
import { readSynapseConfig } from '../../src/stack/synapse-config.ts';
import { until } from './support/until.ts';

jest.setTimeout(60_000);

/** The host stack on a real Synapse with a real PostgreSQL, whose owner may nothing else, over scram. */

let dir: string;
let postgres: Postgres;
let synapse: Synapse;
const never = new AbortController().signal;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'stack-'));
  postgres = await startPostgres();
  const database = await postgres.createDatabase({ name: 'synapse' });
  synapse = await startSynapse({ dir: join(dir, 'synapse'), database: { postgres: database }, serverName: 'example.org' });
  await synapse.register({ localpart: 'alice', admin: true });
}, 180_000);

afterAll(async () => {
  await synapse.dispose();
  await postgres.dispose();
  rmSync(dir, { recursive: true, force: true });
});

const stackWith = (settings: Partial<HostSettings> = {}, clock: Clock = systemClock): HostStack =>
  new HostStack(
    {
      homeserverConfig: [synapse.configPath],
      components: {},
      copiesDir: join(dir, 'copies'),
      restoresDir: join(dir, 'restores'),
      ...settings,
    },
    clock,
  );

describe('the configuration', () => {
  test('is merged as Synapse itself merges it, whole sections by later files', async () => {
    const folder = join(dir, 'layers');
    mkdirSync(join(folder, 'conf.d/sub.yaml'), { recursive: true });
    const write = (name: string, content: unknown): void => writeFileSync(join(folder, name), stringify(content));
    write('homeserver.yaml', {
      server_name: 'one.test',
      report_stats: false,
      database: { name: 'psycopg2', args: { user: 'synapse', password: 'one', dbname: 'first', host: 'db' } },
      registration_shared_secret_path: 'secrets/shared',
      app_service_config_files: ['bridge.yaml'],
    });
    write('conf.d/b.yaml', { database: { name: 'psycopg2', args: { database: 'second', user: 'other' } }, media_store_path: 'media' });
    write('conf.d/B.yaml', { media_store_path: 'overruled', oidc_providers: [{ client_secret_path: '/run/oidc' }] });
    write('conf.d/c.txt', { server_name: 'not.read' });
    writeFileSync(join(folder, 'conf.d/z.yaml'), '');
    const paths = [join(folder, 'homeserver.yaml'), join(folder, 'conf.d')];
    const read = await readSynapseConfig(paths, '/srv/synapse');
    const program = `import json, sys
from synapse.config._base import find_config_files, read_config_files
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    files = find_config_files(sys.argv[1:]); config = read_config_files(files)
print(json.dumps({'files': files, 'config': config}))`;
    const synapses = JSON.parse(await run([await ensureSynapse(), '-c', program, ...paths])) as {
      files: string[];
      config: { media_store_path: string; database: unknown };
    };
    expect(read.configFiles).toEqual(synapses.files);
    expect(read.mediaPath).toBe(join('/srv/synapse', synapses.config.media_store_path));
    expect(synapses.config.database).toEqual({ name: 'psycopg2', args: { database: 'second', user: 'other' } });
    expect(read).toMatchObject({
      serverName: 'one.test',
      database: { kind: 'postgres', name: 'second', user: 'other', host: '/var/run/postgresql', port: 5432, password: null },
      signingKeyPath: join(folder, 'conf.d/one.test.signing.key'),
      includedFiles: ['/srv/synapse/bridge.yaml'],
      secretFiles: ['/srv/synapse/secrets/shared', '/run/oidc'],
    });
  });

  test.each(['12345678901234567890', '1e5', '0123', '12_34', '00a', '7.50', "'7.50'"])(
    'has the password that Synapse uses, also where it looks like a number: %s',
    async (written) => {
      const path = join(dir, 'password.yaml');
      writeFileSync(
        path,
        `server_name: one.test\ndatabase: { name: psycopg2, args: { user: synapse, port: 5433, password: ${written} } }\n`,
      );
      const program = `import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))['database']['args']['password'])`;
      const used = (await run([await ensureSynapse(), '-c', program, path])).trim();
      expect(await readSynapseConfig([path], dir)).toMatchObject({ database: { port: 5433, password: used } });
    },
  );

  test('has what libpq takes for not set where it is empty', async () => {
    const path = join(dir, 'empty.yaml');
    const args = {
      user: 'u',
      dbname: 'd',
      host: '',
      password: null,
      options: null,
      sslmode: '',
      sslrootcert: '',
      sslcert: null,
      sslkey: '',
    };
    writeFileSync(path, stringify({ server_name: 'a', database: { name: 'psycopg2', args } }));
    expect((await readSynapseConfig([path], dir)).database).toEqual({
      ...{ kind: 'postgres', host: '/var/run/postgresql', port: 5432, user: 'u', name: 'd', password: null, options: undefined },
      tls: { mode: 'prefer', rootCert: undefined, cert: undefined, key: undefined },
    });
  });

  test('that is no YAML is told without quoting it', async () => {
    const path = join(dir, 'broken.yaml');
    writeFileSync(path, 'password: "hunter2\n  [');
    const failure: unknown = await readSynapseConfig([path], dir).catch((error: unknown) => error);
    expect(failure).toMatchObject({ id: 'stack.config-unreadable', message: expect.stringContaining(path) as unknown });
    expect((failure as Error).message).not.toContain('hunter2');
  });
});

test('the dump of Matrix Authentication Service is read by programs of its own server, which need not be those of the homeserver', async () => {
  const path = join(dir, 'sqlite.yaml');
  writeFileSync(path, stringify({ server_name: 'a', database: { name: 'sqlite3', args: { database: 'a.db' } } }));
  const stack = stackWith({ homeserverConfig: [path] });
  const tried = tryMas({ stack, facts: { major: 99, bytes: 1 }, data: () => Readable.from([]), held: {} as Held, signal: never });
  await expect(tried).rejects.toMatchObject({ id: 'stack.no-program', reason: expect.stringContaining('99') as unknown });
});

describe('facts and powers', () => {
  test('are what is there', async () => {
    const stack = stackWith();
    expect(await stack.facts()).toMatchObject({
      serverName: 'example.org',
      database: { kind: 'postgres', name: 'synapse', user: 'synapse', owner: 'synapse', port: postgres.port },
      mediaPath: synapse.mediaPath,
      signingKeyPath: join(synapse.dir, 'signing.key'),
      configFiles: [synapse.configPath],
      includedFiles: [join(synapse.dir, 'log.yaml')],
      storageProviders: [],
    });
    const facts = await stack.databaseFacts();
    const [schema] = (await sql(postgres.superuser, `SELECT pg_database_size('synapse')`)).split('\n');
    expect(Math.abs(facts.bytes / Number(schema) - 1)).toBeLessThan(0.1);
    expect(facts).toMatchObject({ major: 15, collation: 'C', encoding: 'UTF8' });
    expect(facts.schemaVersion).toBeGreaterThan(80);
  });

  test('name the exact GRANT that is missing, and the GRANT is all that it takes', async () => {
    const password = await postgres.createRole('steward');
    const stack = stackWith({ database: { user: 'steward', password: new Secret(password) } });
    const of = async (name: string) => (await stack.capabilities()).find((capability) => capability.name === name);
    const dump = await of('dump');
    expect(dump).toMatchObject({ granted: false, grant: ['GRANT pg_read_all_data TO steward;'] });
    const broken = await stack.dumpDatabase(never);
    broken.stream.data.resume();
    await expect(stack.databaseFacts()).rejects.toMatchObject({ id: 'stack.not-granted' });
    expect((await broken.stream.proof).stages[0]).toMatchObject({ name: 'pg_dump', exitCode: 1 });
    await broken.snapshot.close();
    await sql(postgres.superuser, dump?.grant.join('\n') ?? '');
    expect(await of('dump')).toEqual({ name: 'dump', granted: true, missing: [], grant: [] });
    const whole = await stack.dumpDatabase(never);
    whole.stream.data.resume();
    expect((await whole.stream.proof).stages).toEqual([
      { name: 'pg_dump', exitCode: 0 },
      { name: 'zstd', exitCode: 0 },
    ]);
    await whole.snapshot.close();

    const needed = ['GRANT synapse TO steward;', 'ALTER ROLE steward CREATEDB;', 'GRANT pg_signal_backend TO steward;'];
    const restore = await of('restore');
    expect(restore).toMatchObject({
      granted: false,
      grant: [...needed, 'GRANT pg_read_all_settings TO steward;'],
    });
    // Without the last one it works, and does not see whether there is room.
    await sql(postgres.superuser, needed.join('\n'));
    expect(await of('restore')).toEqual({
      name: 'restore',
      granted: true,
      missing: [expect.stringContaining('steward may not ask where the database lies')],
      grant: ['GRANT pg_read_all_settings TO steward;'],
    });
    expect(await stack.restores.databaseSpace(1)).toMatchObject({ free: null });
    await sql(postgres.superuser, restore?.grant.at(-1) ?? '');
    expect(await stack.restores.databaseSpace(1)).toMatchObject({ free: expect.any(Number) });
    expect(await of('restore')).toEqual({ name: 'restore', granted: true, missing: [], grant: [] });
  });

  test('a wrong password is told by the role, without the password', async () => {
    const stack = stackWith({ database: { user: 'synapse', password: new Secret('hunter2') } });
    const failure: unknown = await stack.databaseFacts().catch((error: unknown) => error);
    expect(failure).toMatchObject({ id: 'stack.database-unreachable', message: expect.stringContaining('as synapse') as unknown });
    expect((failure as Error).message).not.toContain('hunter2');
    expect((await stack.capabilities()).find(({ name }) => name === 'dump')?.granted).toBe(false);
  });
});

describe('the dump', () => {
  test('is what pg_restore reads, hashed at its source, without one-time keys', async () => {
    await sql(
      postgres.superuser,
      `\\c synapse
      INSERT INTO e2e_one_time_keys_json (user_id, device_id, algorithm, key_id, ts_added_ms, key_json) VALUES ('@alice:example.org', 'D', 'signed_curve25519', 'A', 1, '{}');`,
    );
    const dump = await stackWith().dumpDatabase(never);
    const [bytes, proof] = await Promise.all([buffer(dump.stream.data), dump.stream.proof]);
    expect(proof).toMatchObject({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
    const path = join(dir, 'dump.zst');
    writeFileSync(path, bytes);
    const script = await run(['sh', '-c', `zstd -q -d -c "$0" | pg_restore -f - --data-only -t e2e_one_time_keys_json -t users`, path]);
    expect(script).toContain('@alice:example.org');
    expect(script).not.toContain('signed_curve25519');
    // The view beside it is of the same instant.
    await synapse.register({ localpart: 'later' });
    expect(await dump.snapshot.rows(`SELECT count(*)::int AS n FROM users`)).toEqual([{ n: 1 }]);
    await dump.snapshot.close();
  });

  test('that is killed half-way tells by its exit code, though what arrived is whole zstd', async () => {
    const lock = 'BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)';
    const holding = sql(postgres.superuser, `\\c synapse\n${lock}`).catch(() => undefined);
    await until(
      async () =>
        (await sql(postgres.superuser, `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND wait_event = 'PgSleep'`)) !==
        '',
      10_000,
      'a lock',
    );
    const dump = await stackWith().dumpDatabase(never);
    const arriving = buffer(dump.stream.data);
    await until(
      async () =>
        (await sql(
          postgres.superuser,
          `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%steward-backup%' OR application_name = 'pg_dump'`,
        )) !== '',
      10_000,
      'pg_dump',
    );
    const pids = spawnSync('pgrep', ['-f', `pg_dump.*-p ${postgres.port}`])
      .stdout.toString()
      .trim()
      .split('\n')
      .map(Number);
    for (const pid of pids) if (readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'pg_dump') process.kill(pid, 'SIGKILL');
    const [bytes, proof] = await Promise.all([arriving, dump.stream.proof]);
    expect(proof.stages).toEqual([
      { name: 'pg_dump', exitCode: 137 },
      { name: 'zstd', exitCode: 0 },
    ]);
    expect(spawnSync('zstd', ['-t'], { input: bytes }).status).toBe(0);
    await dump.snapshot.close();
    await sql(
      postgres.superuser,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()`,
    );
    await holding;
  });

  test('loads into a server of its own, which is gone afterwards', async () => {
    const scratchDir = mkdtempSync(join(tmpdir(), 'scratch-'));
    chmodSync(scratchDir, 0o711);
    const stack = stackWith({ scratchDir });
    const dump = await stack.dumpDatabase(never);
    const opened = await stack.openScratch('pg_dump', await stack.databaseFacts(), never);
    if (opened.scratch === null) throw new Error(opened.reason);
    await opened.scratch.load(dump.stream.data, never);
    expect(await opened.scratch.rows('SELECT name FROM users ORDER BY name')).toEqual(
      await dump.snapshot.rows('SELECT name FROM users ORDER BY name'),
    );
    await dump.snapshot.close();
    await opened.scratch.close();
    expect(readdirSync(scratchDir)).toEqual([]);
    rmSync(scratchDir, { recursive: true });
  });

  test('a clock that is set while its server starts does not end the wait', async () => {
    let now = Date.now();
    // A day later at each look.
    const clock: Clock = { ...systemClock, now: () => (now += 86_400_000) };
    const stack = stackWith({}, clock);
    const opened = await stack.openScratch('pg_dump', await stack.databaseFacts(), never);
    if (opened.scratch === null) throw new Error(opened.reason);
    expect(await opened.scratch.rows('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await opened.scratch.close();
  });

  test('a server that cannot be made is told at once, by what was wrong, and leaves nothing', async () => {
    const [scratchDir, postgresPrograms] = ['scratch-', 'programs-'].map((name) => mkdtempSync(join(tmpdir(), name))) as [string, string];
    chmodSync(scratchDir, 0o711);
    chmodSync(postgresPrograms, 0o755);
    const failing = '#!/bin/sh\necho "initdb: error: there is no such locale" >&2\necho "initdb: removing data directory" >&2\nexit 1\n';
    writeFileSync(join(postgresPrograms, 'initdb'), failing, { mode: 0o755 });
    const stack = stackWith({ scratchDir, postgresPrograms });
    await expect(stack.openScratch('pg_dump', await stack.databaseFacts(), never)).rejects.toMatchObject({
      id: 'stack.scratch-failed',
      reason: 'initdb: error: there is no such locale',
    });
    expect(readdirSync(scratchDir)).toEqual([]);
    for (const path of [scratchDir, postgresPrograms]) rmSync(path, { recursive: true });
  }, 20_000);

  test('a dump that is cut anywhere is refused by the scratch database', async () => {
    const stack = stackWith();
    const dump = await stack.dumpDatabase(never);
    const bytes = await buffer(dump.stream.data);
    await dump.snapshot.close();
    for (const at of [1, bytes.length >> 1, bytes.length - 1]) {
      const opened = await stack.openScratch('pg_dump', await stack.databaseFacts(), never);
      if (opened.scratch === null) throw new Error(opened.reason);
      async function* cut(): AsyncGenerator<Uint8Array> {
        yield await Promise.resolve(bytes.subarray(0, at));
      }
      await expect(opened.scratch.load(cut(), never)).rejects.toMatchObject({ id: 'backup.unreadable' });
      await opened.scratch.close();
    }
  });
});

describe('media', () => {
  test('are packed in a thread, hashed where they are read; what is not there is left out', async () => {
    const place = join(synapse.mediaPath, 'local_content/ab/cd');
    mkdirSync(place, { recursive: true });
    mkdirSync(join(synapse.mediaPath, 'local_thumbnails/ab/cd/EfghIjkl'), { recursive: true });
    const small = Buffer.from('small');
    const large = Buffer.alloc(5 * (1 << 20) + 3, 'large');
    writeFileSync(join(place, 'EfghIjkl'), large);
    writeFileSync(join(synapse.mediaPath, 'local_thumbnails/ab/cd/EfghIjkl/32-32-image-png-crop'), small);
    const stack = stackWith();
    const paths = ['local_content/ab/cd/EfghIjkl', 'local_thumbnails/ab/cd/EfghIjkl/32-32-image-png-crop'];
    writeFileSync(join(synapse.mediaPath, 'outside'), 'no id leads here');
    async function* all(): AsyncGenerator<string> {
      yield* await Promise.resolve(['../../../etc/passwd', '..ou/tside', 'abcdEfghIjkl', 'nonesuch']);
    }
    const stream = stack.tarMedia(synapse.mediaPath, all(), never);
    const [bytes, proof, files] = await Promise.all([buffer(stream.data), stream.proof, stream.files]);
    const hash = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
    expect(proof).toMatchObject({ stages: [{ name: 'tar', exitCode: 0 }], bytes: bytes.length, sha256: hash(bytes) });
    expect(files).toEqual([
      { path: paths[0], bytes: large.length, sha256: hash(large) },
      { path: paths[1], bytes: small.length, sha256: hash(small) },
    ]);
    mkdirSync(join(dir, 'out'));
    expect(spawnSync('tar', ['-x', '-C', join(dir, 'out')], { input: bytes }).status).toBe(0);
    expect(readFileSync(join(dir, 'out', paths[0] ?? '')).equals(large)).toBe(true);
  });

  test('more than the thread is given at a time go through whole, to a reader as slow as one that seals and writes', async () => {
    const many = join(synapse.mediaPath, 'local_content/ma/ny');
    mkdirSync(many, { recursive: true });
    writeFileSync(join(many, '0'), Buffer.alloc(250_000, 'x'));
    const ids = Array.from({ length: 4000 }, (_, n) => `many${n}`);
    for (const id of ids.slice(1)) linkSync(join(many, '0'), join(many, id.slice(4)));
    async function* all(): AsyncGenerator<string> {
      yield* await Promise.resolve(ids);
    }
    const stream = stackWith().tarMedia(synapse.mediaPath, all(), never);
    const recipient = await identityToRecipient(await generateX25519Identity());
    const object = await sealInto(new DirectoryDestination('disk', join(dir, 'many')), 'pack.tar.age', stream, [recipient]);
    expect(object.source.stages).toEqual([{ name: 'tar', exitCode: 0 }]);
    expect((await stream.files).map(({ path }) => path)).toEqual(ids.map((id) => `local_content/ma/ny/${id.slice(4)}`));
    rmSync(many, { recursive: true });
    rmSync(join(dir, 'many'), { recursive: true });
  });

  test('a reader that goes away ends the thread', async () => {
    async function* endless(): AsyncGenerator<string> {
      for (;;) yield await Promise.resolve('abcdEfghIjkl');
    }
    const stream = stackWith().tarMedia(synapse.mediaPath, endless(), never);
    stream.data.once('data', () => stream.data.destroy());
    await once(stream.data, 'close');
    expect((await stream.proof).stages).toEqual([{ name: 'tar', exitCode: 1 }]);
  });
});

describe('components', () => {
  test('run commands, and tell what they said when they fail', async () => {
    const stack = stackWith({
      components: {
        synapse: {
          status: ['sh', '-c', 'cat'],
          restart: ['sh', '-c', 'echo no such process >&2; exit 3'],
          logs: ['tail', '-n', '5', synapse.logPath],
        },
        worker: { status: ['false'] },
      },
    });
    expect(await stack.components()).toEqual([
      { name: 'synapse', running: true, invocation: null },
      { name: 'worker', running: false, invocation: null },
    ]);
    expect((await stack.logs('synapse', 2)).split('\n')).toHaveLength(2);
    await expect(stack.restart('synapse', never)).rejects.toMatchObject({
      id: 'stack.command-failed',
      reason: 'its command ended with exit code 3: no such process',
    });
    await expect(stack.restart('worker', never)).rejects.toMatchObject({ id: 'stack.no-control' });
    await expect(stack.logs('other', 2)).rejects.toMatchObject({ id: 'stack.no-component' });
  });

  test.each([
    ['activating', 'loaded', true],
    ['reloading', 'loaded', true],
    ['active', 'loaded', true],
    ['inactive', 'loaded', true],
    ['inactive', 'not-found', true],
    ['active', 'error', false],
  ])('a unit that is %s and %s is stopped, or it is told: none is left to start by itself', async (state, load, isStopped) => {
    // systemd itself runs on no machine of the tests.
    const home = mkdtempSync(join(dir, 'systemctl-'));
    const at = join(home, 'state');
    writeFileSync(at, state);
    const program = `#!/bin/sh
case $1 in
show) echo "ActiveState=$(cat ${at})"; echo InvocationID=1; echo LoadState=${load} ;;
stop) [ ${load} = loaded ] || exit 5; echo inactive > ${at} ;;
esac
`;
    writeFileSync(join(home, 'systemctl'), program, { mode: 0o755 });
    const components = resolve(import.meta.dirname, '../../src/stack/host/components.ts');
    const clock = resolve(import.meta.dirname, '../../src/clock.ts');
    const stopping = `
      import { stopComponent } from ${JSON.stringify(components)};
      import { systemClock } from ${JSON.stringify(clock)};
      await stopComponent('synapse', { unit: 'matrix-synapse.service' }, systemClock, new AbortController().signal);
    `;
    const stopped = run([process.execPath, '--input-type=module', '-e', stopping], {
      env: { PATH: `${home}:${process.env['PATH'] ?? ''}` },
    });
    if (isStopped) await stopped;
    else await expect(stopped).rejects.toThrow(/code: 5/);
    expect(readFileSync(at, 'utf8').trim()).toBe(isStopped ? 'inactive' : state);
    rmSync(home, { recursive: true });
  });
});
