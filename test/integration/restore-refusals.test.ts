import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pack, type Header } from 'tar-stream';
import pg from 'pg';
import { sql } from '../../kit/postgres.ts';
import { signingKey } from '../../src/backup/keys.ts';
import { signRecord, type Manifest } from '../../src/backup/manifest.ts';
import { sealInto } from '../../src/backup/object.ts';
import { DirectoryDestination } from '../../src/backup/destinations/directory.ts';
import { ownOutput } from '../../src/stack/stream.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** What must not be restored is not, with nothing left behind; and a restored server that does not come up is taken back. */

jest.setTimeout(400_000);

let world: RestoreWorld;
let id: string;
let before: { rows: string; media: string; files: string; pid: string | null };
let mediaId: string;

beforeAll(async () => {
  world = await RestoreWorld.open();
  mediaId = await world.upload('kept');
  // What does not compress, so that the dump has several pieces of age.
  await sql(
    { ...world.postgres.superuser, name: 'synapse' },
    `CREATE TABLE noise AS SELECT md5(n::text) AS x FROM generate_series(1, 9000) AS n; ALTER TABLE noise OWNER TO synapse`,
  );
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  id =
    readdirSync(world.disk)
      .filter((name) => /^\d/.test(name))
      .at(-1) ?? '';
  await world.synapse.register({ localpart: 'later' });
  rmSync(world.mediaFile(mediaId));
  await world.settledOracle();
  before = await look();
}, 400_000);

afterAll(() => world.dispose());

const look = async () => ({ rows: await world.oracle(), media: world.mediaTree(), files: world.files(), pid: world.pid });

/** As if nothing had been asked for. */
async function expectUntouched(): Promise<void> {
  expect(await look()).toEqual(before);
  expect(await world.databases()).toEqual(['synapse']);
  expect(world.aside()).toEqual([]);
}

const path = (name: string): string => join(world.disk, name);
const manifestOf = (): Manifest => JSON.parse(readFileSync(path(`${id}/manifest.json`), 'utf8')) as Manifest;

/** A record as Steward signs it, or as somebody with another key does. */
function signed(record: object, key = join(world.dir, 'data/backup-signing.key')): string {
  const rest = Object.fromEntries(Object.entries(record).filter(([name]) => name !== 'signer' && name !== 'signature'));
  return signRecord<Manifest>(rest as never, signingKey(key)).text;
}

/** The manifest with something changed, signed as Steward signs, or with another key. */
async function withManifest(change: (manifest: Manifest) => void, work: () => Promise<void>, key?: string): Promise<void> {
  const held = readFileSync(path(`${id}/manifest.json`));
  const manifest = manifestOf();
  change(manifest);
  writeFileSync(path(`${id}/manifest.json`), signed(manifest, key));
  try {
    await work();
  } finally {
    writeFileSync(path(`${id}/manifest.json`), held);
  }
}

const prepare = (words = '') => world.steward(`restore prepare ${id} --yes ${words}`.trim());

describe('a prepare refuses', () => {
  afterEach(expectUntouched);

  test.each<[string, (manifest: Manifest) => void, RegExp]>([
    ['a backup of another server', (manifest) => (manifest.server.name = 'other.org'), /it is of other\.org, and this is example\.org/],
    ['a newer schema', (manifest) => (manifest.server.database.schemaVersion += 1), /schema has the number/],
    ['a newer PostgreSQL', (manifest) => (manifest.server.database.major = 99), /PostgreSQL 99/],
    ['another kind of database', (manifest) => (manifest.server.database.kind = 'sqlite'), /it is of SQLite/],
    ['another encoding', (manifest) => (manifest.server.database.encoding = 'LATIN1'), /LATIN1/],
  ])('%s', async (_what, change, said) => {
    await withManifest(change, async () => {
      const reply = await prepare();
      expect(reply).toMatchObject({ outcome: 'refused', errorId: 'restore.refused' });
      expect(JSON.stringify(reply.parts)).toMatch(said);
    });
  });

  test('a manifest of somebody else, or one that was changed', async () => {
    const file = path(`${id}/manifest.json`);
    const held = readFileSync(file, 'utf8');
    writeFileSync(file, held.replace('example.org', 'evil.test'));
    expect(await prepare()).toMatchObject({ errorId: 'backup.damaged' });
    // Well signed, by a key that Steward does not know; with the signature of another text; with none.
    writeFileSync(file, signed(JSON.parse(held) as object, join(world.dir, 'stranger.key')));
    expect(await prepare()).toMatchObject({ outcome: 'failed', errorId: 'backup.foreign' });
    const { signature } = JSON.parse(signed({ ...manifestOf(), id: '20000101_000000' })) as Manifest;
    for (const other of [signature, '', undefined]) {
      writeFileSync(file, JSON.stringify({ ...(JSON.parse(held) as Manifest), signature: other }));
      expect({ other, ...(await prepare()) }).toMatchObject({ other, outcome: 'failed', errorId: 'backup.damaged' });
    }
    writeFileSync(file, held);
  });

  test.each(['signing-key', 'config', 'secrets'] as const)(
    'a tar of %s by a stranger, and one that leads out by whoever has the key',
    async (role) => {
      const { objects, epochs } = manifestOf();
      const object = objects.find((each) => each.role === role);
      if (object === undefined) throw new Error(`no ${role}`);
      const held = readFileSync(path(object.name));
      const out = join(world.dir, 'outside');
      mkdirSync(out);
      const file = world.synapse.configPath.slice(1);
      const hostile: [Partial<Header> & { name: string }, string | null][] = [
        [{ name: `${file}/../../../outside/evil` }, null],
        [{ name: join(out, 'evil') }, null],
        [{ name: file, type: 'symlink', linkname: out }, `${file}/evil`],
        [{ name: file, type: 'link', linkname: '/etc/passwd' }, file],
        [{ name: file, type: 'character-device' }, null],
        [{ name: file }, file],
      ];
      const one = async (header: Partial<Header> & { name: string }, through: string | null, isHostile: boolean): Promise<void> => {
        const archive = pack();
        if (header.type === undefined) archive.entry({ ...header }, 'evil');
        else archive.entry({ ...header });
        if (through !== null) archive.entry({ name: through }, 'evil');
        archive.finalize();
        const stream = ownOutput('tar', () => archive as unknown as AsyncIterable<Uint8Array>, new AbortController().signal);
        const { stored, source } = await sealInto(new DirectoryDestination('disk', world.disk), object.name, stream, [
          epochs[0]?.recipient ?? '',
        ]);
        const refused = async (errorId: RegExp): Promise<void> => {
          expect({ header, ...(await prepare()) }).toMatchObject({ header, outcome: 'failed', errorId: expect.stringMatching(errorId) });
          expect(readdirSync(out)).toEqual([]);
        };
        const change = (manifest: Manifest): void => {
          const at = manifest.objects.find((each) => each.role === role);
          if (at !== undefined) Object.assign(at, { stored, source: { bytes: source.bytes, sha256: source.sha256 } });
        };
        // Beside the manifest as it was, where what is found first is told; with one of their own; with one that is well signed.
        await refused(isHostile ? /^(restore\.unsafe-name|backup\.damaged)$/ : /^backup\.damaged$/);
        if (isHostile) await withManifest(change, () => refused(/^restore\.unsafe-name$/));
        else await withManifest(change, () => refused(/^backup\.foreign$/), join(world.dir, 'stranger.key'));
      };
      try {
        await one({ name: file }, null, false);
        for (const [header, through] of hostile) await one(header, through, true);
      } finally {
        writeFileSync(path(object.name), held, { mode: 0o600 });
        rmSync(out, { recursive: true });
      }
    },
  );

  test('a key that opens nothing', async () => {
    spawnSync('age-keygen', ['-o', join(world.dir, 'wrong.key')]);
    const key = readFileSync(join(world.dir, 'wrong.key'), 'utf8');
    expect(await world.steward(`restore prepare ${id} --yes`, { identity: key })).toMatchObject({ errorId: 'backup.no-key' });
  });

  test('a flipped byte in any object that it reads, and a cut or missing one', async () => {
    const objects = readdirSync(path(id), { recursive: true })
      .map(String)
      // Steward itself is for a bare machine, and not read by a restore.
      .filter((name) => name.endsWith('.age') && !name.startsWith('steward/'));
    expect(objects).toHaveLength(7);
    for (const name of objects) {
      const file = path(`${id}/${name}`);
      const held = readFileSync(file);
      const changed = Buffer.from(held);
      changed[changed.length - 5] = (changed[changed.length - 5] ?? 0) ^ 1;
      for (const bad of [changed, held.subarray(0, held.length - 1)]) {
        writeFileSync(file, bad);
        expect({ name, ...(await prepare()) }).toMatchObject({ name, outcome: 'failed', errorId: 'backup.damaged' });
      }
      rmSync(file);
      expect({ name, ...(await prepare()) }).toMatchObject({ name, outcome: 'failed', errorId: 'backup.missing' });
      writeFileSync(file, held, { mode: 0o600 });
      expect(await world.databases()).toEqual(['synapse']);
      expect(world.aside()).toEqual([]);
    }
  });

  test('a dump with a byte flipped in any part of it, cut where a piece of age ends or beside it, or empty from there on', async () => {
    const dump = manifestOf().objects.find(({ role }) => role === 'database')?.name ?? '';
    const held = readFileSync(path(dump));
    const header = held.indexOf('\n', held.indexOf('\n--- ') + 1) + 1;
    const [nonce, piece] = [16, 65_536 + 16];
    const ends = Array.from({ length: Math.ceil((held.length - header - nonce) / piece) }, (_, n) => header + nonce + n * piece);
    expect(ends.length).toBeGreaterThan(2);
    const bad: [string, Buffer][] = [];
    // The version, whom it is for, its authentication; the nonce; then each piece at its begin, middle and tag.
    for (const at of [4, header >> 1, header - 2, header + 3, ...ends.flatMap((end) => [end, end + 30_000, end - 1]), held.length - 1])
      if (at < held.length) bad.push([`flipped at ${at}`, Buffer.from(held.map((byte, n) => (n === at ? byte ^ 1 : byte)))]);
    for (const at of [0, header, ...ends.flatMap((end) => [end - 1, end, end + 1])]) {
      const cut = held.subarray(0, at);
      bad.push([`cut at ${at}`, cut], [`empty from ${at} on`, Buffer.concat([cut, Buffer.alloc(held.length - at)])]);
    }
    for (const [what, content] of bad) {
      writeFileSync(path(dump), content);
      expect({ what, ...(await prepare()) }).toMatchObject({ what, outcome: 'failed', errorId: 'backup.damaged' });
      expect(await world.databases()).toEqual(['synapse']);
      expect(world.aside()).toEqual([]);
    }
    writeFileSync(path(dump), held, { mode: 0o600 });
  });

  test('media whose name leads out of the folder, however well it is signed', async () => {
    const manifest = manifestOf();
    const media = manifest.objects.find(({ role }) => role === 'media');
    if (media === undefined) throw new Error('no media');
    const recipient = manifest.epochs[0]?.recipient ?? '';
    const held = readFileSync(path(media.name));
    const inside = 'local_content/aa/bb/evil';
    for (const { name, ...link } of [
      ...[{ name: '../../evil' }, { name: 'local_content/../../evil' }, { name: '/etc/evil' }],
      { name: 'local_content/aa/bb/../../../../evil' },
      // A link first, through which a file would go out; a device.
      ...[
        { name: inside, type: 'symlink' as const, linkname: '/etc' },
        { name: inside, type: 'link' as const, linkname: '/etc/passwd' },
      ],
      { name: inside, type: 'character-device' as const },
    ]) {
      const archive = pack();
      if ('type' in link) archive.entry({ name, ...link });
      else archive.entry({ name }, 'evil');
      archive.entry({ name: `${inside}/../evil` }, 'evil');
      archive.finalize();
      const stream = ownOutput('tar', () => archive as unknown as AsyncIterable<Uint8Array>, new AbortController().signal);
      const sealed = await sealInto(new DirectoryDestination('disk', world.disk), media.name, stream, [recipient]);
      await withManifest(
        ({ objects }) => {
          const object = objects.find(({ role }) => role === 'media');
          if (object === undefined) return;
          object.stored = sealed.stored;
          object.source = { bytes: sealed.source.bytes, sha256: sealed.source.sha256 };
        },
        async () => {
          expect({ name, ...(await prepare()) }).toMatchObject({ name, outcome: 'failed', errorId: 'restore.unsafe-name' });
        },
      );
    }
    writeFileSync(path(media.name), held, { mode: 0o600 });
    expect(spawnSync('find', [world.dir, '-name', 'evil']).stdout.toString()).toBe('');
  });

  test('a role that may not make databases, and says the GRANT', async () => {
    await sql(world.postgres.superuser, 'ALTER ROLE steward NOCREATEDB');
    expect(await prepare()).toMatchObject({ outcome: 'failed', errorId: 'stack.not-granted' });
    const doctor = async (): Promise<string> => JSON.stringify((await world.steward('server doctor')).parts);
    const grant = 'ALTER ROLE steward CREATEDB;';
    expect(await doctor()).toContain(JSON.stringify(grant));
    await sql(world.postgres.superuser, grant);
    expect(await doctor()).not.toContain(JSON.stringify(grant));
  });

  test('content that is not what was proven', async () => {
    const proof = path(`${id}/proof.json`);
    const held = readFileSync(proof, 'utf8');
    const rest = JSON.parse(held) as { signer: string; signature: string; content: { rows: number } };
    rest.content.rows += 1;
    writeFileSync(proof, signed(rest));
    expect(await prepare()).toMatchObject({ outcome: 'failed', errorId: 'restore.different' });
    writeFileSync(proof, held);
  });

  test('a restore that there is not', async () => {
    expect(await world.steward('restore cutover 20000101_000000')).toMatchObject({ errorId: 'restore.not-found' });
  });
});

describe('a cutover', () => {
  test('keeps off sessions that go on connecting, as the server and as others', async () => {
    expect(await prepare()).toMatchObject({ outcome: 'done' });
    const { host, port, user, password } = world.database;
    let stop = false;
    let keptOff = 0;
    const crowd = [1, 2, 3].map(async () => {
      while (!stop) {
        const client = new pg.Client({ host, port, user, password, database: 'synapse' });
        client.on('error', () => undefined);
        await client.connect().then(
          // As long as a session may be at the moment of the swap: whoever is in is put out.
          () => client.query('SELECT pg_sleep(0.2) FROM (SELECT count(*) FROM users) AS users').catch(() => (keptOff += 1)),
          () => (keptOff += 1),
        );
        await client.end().catch(() => undefined);
      }
    });
    const cutover = await world.steward('restore cutover latest');
    const undo = await world.steward('restore undo latest --yes');
    stop = true;
    await Promise.all(crowd);
    expect(cutover).toMatchObject({ outcome: 'done' });
    expect(undo).toMatchObject({ outcome: 'done' });
    expect(keptOff).toBeGreaterThan(0);
    expect(await world.oracle()).toBe(before.rows);
  });

  test('onto data that Synapse cannot start on is taken back by itself', async () => {
    const { id: restore } = (await world.core()).restores.find('latest');
    await sql(
      { ...world.postgres.superuser, name: `synapse_restore_${restore}` },
      'UPDATE schema_compat_version SET compat_version = 9999',
    );
    const reply = await world.steward('restore cutover latest');
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'restore.rolled-back' });
    expect(await world.answers()).toBe(true);
    expect({ ...(await look()), pid: null }).toEqual({ ...before, pid: null });
    expect((await world.core()).restores.find('latest').state).toBe('prepared');
    expect(await world.steward('restore finish latest')).toMatchObject({ outcome: 'done' });
    expect(await world.databases()).toEqual(['synapse']);
    expect(world.aside()).toEqual([]);
  });

  test('onto data that Synapse answers on and nobody can write to is taken back too', async () => {
    expect(await prepare()).toMatchObject({ outcome: 'done' });
    const { id: restore } = (await world.core()).restores.find('latest');
    const at = { ...world.postgres.superuser, name: `synapse_restore_${restore}` };
    // It starts, lets people register and log in, and keeps nothing that they say.
    await sql(at, 'ALTER TABLE account_data OWNER TO postgres; GRANT SELECT ON account_data TO synapse;');
    const reply = await world.steward('restore cutover latest');
    expect(reply).toMatchObject({ outcome: 'failed', errorId: 'restore.rolled-back' });
    expect(JSON.stringify(reply.parts)).toContain('it answers, but nobody can log in and write');
    expect(await world.answers()).toBe(true);
    expect({ ...(await look()), pid: null }).toEqual({ ...before, pid: null });
    expect((await world.core()).restores.find('latest')).toMatchObject({
      state: 'prepared',
      probe: expect.stringMatching(/^steward-probe-/),
    });

    // Mended, it comes up; of the accounts that it was tried with, that of before too, names are left.
    await sql(at, 'ALTER TABLE account_data OWNER TO synapse');
    const again = await world.steward('restore cutover latest');
    expect(again).toMatchObject({
      outcome: 'done',
      result: { proven: 'a new account could log in, write and read' },
    });
    expect((await world.core()).restores.find('latest')).toMatchObject({ state: 'live', probe: null });
    const live = { ...world.postgres.superuser, name: 'synapse' };
    const left = `SELECT count(*), min(deactivated), count(password_hash), (SELECT count(*) FROM erased_users WHERE user_id LIKE '@steward-probe-%'),
      (SELECT count(*) FROM access_tokens WHERE user_id LIKE '@steward-probe-%'), (SELECT count(*) FROM devices WHERE user_id LIKE '@steward-probe-%'),
      (SELECT count(*) FROM account_data WHERE user_id LIKE '@steward-probe-%'), (SELECT count(*) FROM profiles WHERE full_user_id LIKE '@steward-probe-%')
      FROM users WHERE name LIKE '@steward-probe-%'`;
    expect((await sql(live, left)).trim()).toBe('2|1|0|2|0|0|0|0');
    expect(await world.steward('restore undo latest --yes')).toMatchObject({ outcome: 'done' });
    expect(await world.oracle()).toBe(before.rows);
    expect(await world.steward('restore finish latest')).toMatchObject({ outcome: 'done' });
  });

  test('brings back keys, configuration and secrets that were changed since, and an undo those of today', async () => {
    const config = readFileSync(world.synapse.configPath, 'utf8');
    const then = world.files();
    writeFileSync(world.synapse.configPath, `${config}max_upload_size: 7M\n`);
    writeFileSync(join(world.synapse.dir, 'form_secret'), 'another');
    const now = world.files();
    expect(await prepare('--only config,secrets')).toMatchObject({
      outcome: 'done',
      result: { files: [world.synapse.configPath, join(world.synapse.dir, 'form_secret')], tables: 0 },
    });
    expect(world.files()).toBe(now);
    expect(await world.steward('restore cutover latest')).toMatchObject({ outcome: 'done' });
    expect(world.files().replace(/^homeserver.yaml .*$/m, '')).toBe(then.replace(/^homeserver.yaml .*$/m, ''));
    expect(readFileSync(world.synapse.configPath, 'utf8')).not.toContain('max_upload_size');
    expect(await world.steward('restore undo latest --yes')).toMatchObject({ outcome: 'done' });
    expect(world.files()).toBe(now);
    await world.steward('restore finish latest');
    writeFileSync(world.synapse.configPath, config);
    expect(world.aside()).toEqual([]);
  });
});

test('what the manifest says of its objects is what lies there', () => {
  for (const { name, stored } of manifestOf().objects)
    expect(
      createHash('sha256')
        .update(readFileSync(path(name)))
        .digest('hex'),
    ).toBe(stored.sha256);
});
