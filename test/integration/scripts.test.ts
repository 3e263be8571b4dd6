import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { buffer } from 'node:stream/consumers';
import { run } from '../../kit/process.ts';
import { sql } from '../../kit/postgres.ts';
import { RestoreWorld } from './support/restore-world.ts';

/** Backups as `backup.sh` makes them, by the programs that it runs, of a real Synapse on a real PostgreSQL. */

jest.setTimeout(180_000);

let world: RestoreWorld;
let media: string;
let folder: string;
let atBackup: string;
let before: { rows: string; media: string; files: string; pid: string | null };

const id = '20261122_021500';

beforeAll(async () => {
  world = await RestoreWorld.open();
  folder = join(world.dir, 'scripts');
  world.configure({
    backup: {
      destinations: { disk: { directory: world.disk } },
      scripts_dir: folder,
      keys: { recipients: [world.recipient('admin')], identity_file: 'own.key' },
    },
  });
  await world.synapse.register({ localpart: 'bob', displayname: "Bob; DROP TABLE users; '\\" });
  media = await world.upload('kept');
  await world.upload('x'.repeat(300_000));
  atBackup = await world.settledOracle();
  await backUpAsTheScriptsDo(id);
  symlinkSync(id, join(folder, 'latest'));
  // What happens after the backup, and would be lost.
  await world.synapse.register({ localpart: 'later' });
  rmSync(world.mediaFile(media));
  before = await look();
}, 300_000);

afterAll(() => world.dispose());

const look = async () => ({ rows: await world.settledOracle(), media: world.mediaTree(), files: world.files(), pid: world.pid });

/** The commands of backup.sh without `kubectl exec`. */
async function backUpAsTheScriptsDo(name: string): Promise<void> {
  const at = join(folder, name);
  for (const part of ['database', 'media', 'keys', 'secrets']) mkdirSync(join(at, part), { recursive: true });
  const { host, port, name: database, user, password } = world.database;
  const dump = await run([join(world.postgres.programs, 'pg_dump'), '-h', host, '-p', String(port), '-U', user, database], {
    env: { PGPASSWORD: password },
  });
  writeFileSync(join(at, 'database/synapse.sql'), dump);
  await run(['gzip', join(at, 'database/synapse.sql')]);
  await run(['tar', 'czf', join(at, 'media/media-store.tar.gz'), '-C', world.synapse.dir, 'media_store']);
  cpSync(join(world.synapse.dir, 'signing.key'), join(at, 'keys/example.org.signing.key'));
  writeFileSync(join(at, 'secrets/matrix-synapse-admin-credentials.yaml'), 'apiVersion: v1\nkind: Secret\n');
  writeFileSync(
    join(at, 'MANIFEST.txt'),
    `Matrix Synapse Backup Manifest\n\nBackup Date: ${new Date().toUTCString()}\nTimestamp: ${name}\nNamespace: matrix\nServer Name: example.org\n`,
  );
}

const infoOf = async (words: string): Promise<string> => JSON.stringify((await world.steward(`backup info ${words}`)).parts);

test('they are listed apart from Steward’s own, and never as proven', async () => {
  const none = await world.steward('backup list');
  expect(JSON.stringify(none.parts)).toMatch(/Made by the scripts.*never proven.*20261122_021500.*database, media, keys, secrets/s);
  expect(await infoOf('latest')).toMatch(/Backup 20261122_021500.* of example\.org, made by the scripts.*never.*not encrypted/);
});

test('one is read to its end, and what that proves is said', async () => {
  const reply = await world.steward('backup verify latest');
  expect(reply).toMatchObject({ outcome: 'done', result: { id, destinations: [{ destination: 'scripts', objectLevel: 2 }] } });
  const said = JSON.stringify(reply.parts);
  expect(said).toMatch(/whole, of example\.org, PostgreSQL 15, schema \d+/);
  expect(said).toMatch(/2 files of local media/);
  expect(said).toMatch(/the script wrote no hashes/);
  expect(said).toMatch(/Nobody has compared it/);
});

test('a prepare loads it beside the live server, and a cutover and an undo go there and back', async () => {
  const prepared = await world.steward('restore prepare latest --yes');
  expect({ outcome: prepared.outcome, said: JSON.stringify(prepared.parts) }).toMatchObject({ outcome: 'done' });
  expect(prepared.result).toMatchObject({ backup: id, destination: 'scripts', media: 1, mediaMissing: 0, files: [], proven: false });
  expect(JSON.stringify(prepared.parts)).toMatch(/never proven/);
  const restore = (prepared.result as { id: string }).id;
  expect(await look()).toEqual(before);
  expect(await world.oracle(`synapse_restore_${restore}`)).toBe(atBackup);
  const schema = async (name: string) => {
    const { host, port, user, password } = world.postgres.superuser;
    const words = ['-h', host, '-p', String(port), '-U', user, '--schema-only', name];
    const text = await run([join(world.postgres.programs, 'pg_dump'), ...words], { env: { PGPASSWORD: password } });
    return text.replaceAll(/^\\(un)?restrict .*$/gm, '');
  };
  // Owners, indexes, triggers and sequences as well.
  expect(await schema(`synapse_restore_${restore}`)).toBe(await schema('synapse'));
  const cut = await world.steward(`restore cutover ${restore}`);
  expect({ outcome: cut.outcome, said: JSON.stringify(cut.parts) }).toMatchObject({ outcome: 'done' });
  expect(await world.answers()).toBe(true);
  expect(await world.oracle()).toBe(atBackup);
  expect(readFileSync(world.mediaFile(media), 'utf8')).toBe('kept');
  const undone = await world.steward(`restore undo ${restore} --yes`);
  expect({ outcome: undone.outcome, said: JSON.stringify(undone.parts) }).toMatchObject({ outcome: 'done' });
  expect(await world.oracle()).toBe(before.rows);
  expect(await world.steward(`restore finish ${restore}`)).toMatchObject({ outcome: 'done' });
  before = await look();
});

describe('refused before anything is loaded:', () => {
  const bad = '20261123_021500';
  const at = (name: string): string => join(folder, bad, name);
  const dump = (): string => gunzipSync(readFileSync(join(folder, id, 'database/synapse.sql.gz'))).toString();
  const putDump = (text: string): void => writeFileSync(at('database/synapse.sql.gz'), gzipSync(text));

  afterEach(async () => {
    rmSync(join(folder, bad), { recursive: true });
    expect(await look()).toEqual(before);
    expect(await world.databases()).toEqual(['synapse']);
    expect(world.aside()).toEqual([]);
  });

  async function expectRefused(errorId: string, said: RegExp, only = ''): Promise<void> {
    for (const line of [`restore prepare ${bad} --yes${only}`, `backup verify ${bad}`]) {
      const reply = await world.steward(line);
      // Nothing is loaded: no more than reading is said to have been done.
      expect({ line, outcome: reply.outcome, errorId: reply.errorId, said: JSON.stringify(reply.parts) }).toMatchObject({
        outcome: reply.errorId === 'restore.refused' ? 'refused' : 'failed',
        errorId,
        said: expect.stringMatching(said),
      });
    }
  }

  const copy = (): void => cpSync(join(folder, id), join(folder, bad), { recursive: true });

  test.each<[string, string, RegExp, () => void | Promise<void>]>([
    ['a dump cut at one third', 'backup.unreadable', /it is cut/, () => putDump(dump().slice(0, dump().length / 3))],
    [
      'a dump that lacks its last line alone',
      'backup.unreadable',
      /it is cut/,
      () => putDump(dump().replace('-- PostgreSQL database dump complete', '--')),
    ],
    [
      'a dump whose gzip is cut',
      'backup.unreadable',
      /gzip/,
      () => {
        const whole = readFileSync(at('database/synapse.sql.gz'));
        writeFileSync(at('database/synapse.sql.gz'), whole.subarray(0, whole.length - 9));
      },
    ],
    ['an empty dump', 'backup.unreadable', /it is empty/, () => writeFileSync(at('database/synapse.sql.gz'), '')],
    [
      'the dump of an empty database',
      'backup.unreadable',
      /none of Synapse/,
      () => putDump('--\n-- PostgreSQL database dump complete\n--\n\n'),
    ],
    [
      'a command of psql',
      'restore.unsafe-dump',
      /command of psql/,
      () => putDump(dump().replace('\nSET client_encoding', '\n\\! touch /tmp/hacked\nSET client_encoding')),
    ],
    [
      'a statement that reaches out of its database',
      'restore.unsafe-dump',
      /DROP DATABASE synapse/,
      () =>
        putDump(dump().replace('\nSET client_encoding', '\nCOMMIT; DROP DATABASE synapse;\nSET client_encoding').replace('COMMIT; ', '')),
    ],
    [
      'an archive of media that is cut',
      'backup.unreadable',
      /cut|gzip/,
      () => {
        const whole = readFileSync(at('media/media-store.tar.gz'));
        writeFileSync(at('media/media-store.tar.gz'), whole.subarray(0, whole.length / 2));
      },
    ],
    [
      'an archive without its end',
      'backup.unreadable',
      /its end is missing/,
      () => {
        const whole = gunzipSync(readFileSync(at('media/media-store.tar.gz')));
        const last = whole.findLastIndex((byte) => byte !== 0);
        writeFileSync(at('media/media-store.tar.gz'), gzipSync(whole.subarray(0, Math.ceil((last + 1) / 512) * 512)));
      },
    ],
    [
      'a name that leads out of the folder',
      'restore.unsafe-name',
      /media_store\/\.\.\/\.\.\/evil/,
      async () => {
        const tar = pack();
        tar.entry({ name: 'media_store/../../evil' }, 'evil');
        tar.finalize();
        writeFileSync(at('media/media-store.tar.gz'), gzipSync(await buffer(tar)));
      },
    ],
    [
      'a link among the media',
      'restore.unsafe-name',
      /symlink/,
      async () => {
        const tar = pack();
        tar.entry({ name: 'media_store/local_content/aa/bb/cc', type: 'symlink', linkname: '/etc/passwd' });
        tar.finalize();
        writeFileSync(at('media/media-store.tar.gz'), gzipSync(await buffer(tar)));
      },
    ],
    [
      'a file that has not its hash',
      'backup.damaged',
      /has not the hash/,
      async () => {
        const sums = await run(['sh', '-c', `cd '${join(folder, bad)}' && sha256sum database/* media/*`]);
        writeFileSync(at('SHA256SUMS'), sums);
        putDump(`${dump()}\n`);
      },
    ],
    ['one that the script did not finish', 'backup.damaged', /did not come to its end/, () => rmSync(at('MANIFEST.txt'))],
    ['one without a signing key', 'backup.missing', /signing key is not there/, () => rmSync(at('keys'), { recursive: true })],
  ])('%s', async (_what, errorId, said, spoil) => {
    copy();
    await spoil();
    await expectRefused(errorId, said);
    expect(existsSync('/tmp/hacked')).toBe(false);
  });

  test('the dump of another server, whatever its text says', async () => {
    copy();
    putDump(dump().replaceAll(':example.org', ':other.org'));
    expect(await world.steward(`restore prepare ${bad} --yes`)).toMatchObject({ outcome: 'failed', errorId: 'backup.damaged' });
    rmSync(at('MANIFEST.txt'));
    writeFileSync(at('backup-info.txt'), 'Timestamp\n');
    const reply = await world.steward(`restore prepare ${bad} --yes`);
    expect(reply).toMatchObject({ outcome: 'refused', errorId: 'restore.refused' });
    expect(JSON.stringify(reply.parts)).toMatch(/it is of other\.org, and this is example\.org/);
    // One whose text names the other server is refused before it is opened.
    writeFileSync(at('backup-info.txt'), 'Server Name: other.org\n');
    expect(await world.steward(`restore prepare ${bad} --yes`)).toMatchObject({ outcome: 'refused', errorId: 'restore.refused' });
  });

  test.each<[string, RegExp, (text: string) => string]>([
    ['a newer schema', /schema has the number 999/, (text) => text.replace(/(COPY public\.schema_version [^\n]*\nX\t)\d+/, '$1999')],
    [
      'a newer PostgreSQL',
      /PostgreSQL 99/,
      (text) => text.replace(/Dumped from database version \S+/, 'Dumped from database version 99.1'),
    ],
    ['another encoding', /LATIN1/, (text) => text.replace("client_encoding = 'UTF8'", "client_encoding = 'LATIN1'")],
  ])('%s', async (_what, said, change) => {
    copy();
    putDump(change(dump()));
    const reply = await world.steward(`restore prepare ${bad} --yes`);
    expect({ outcome: reply.outcome, said: JSON.stringify(reply.parts) }).toMatchObject({
      outcome: 'refused',
      said: expect.stringMatching(said),
    });
  });
});

test('`latest` is Steward’s own where there is one, and the scripts’ where they are named', async () => {
  expect(await world.steward('backup create')).toMatchObject({ outcome: 'done' });
  expect(await infoOf('latest')).toMatch(/stored in disk/);
  expect(await infoOf('latest --from scripts')).toMatch(/Backup 20261122_021500.*made by the scripts/);
  // The link tells which the script finished last.
  cpSync(join(folder, id), join(folder, '20261124_021500'), { recursive: true });
  expect(await infoOf('latest --from scripts')).toMatch(/Backup 20261122_021500/);
  rmSync(join(folder, 'latest'));
  expect(await infoOf('latest --from scripts')).toMatch(/Backup 20261124_021500/);
  const listed = JSON.stringify((await world.steward('backup list')).parts);
  expect(listed).toMatch(/Stored in.*Made by the scripts/s);
});

test('a folder that is a destination too is neither judged nor touched', async () => {
  world.closeCore();
  world.configure({
    backup: { destinations: { disk: { directory: folder } }, scripts_dir: folder, keys: { recipients: [world.recipient('admin')] } },
  });
  const held = await run(['sh', '-c', `cd '${folder}' && find ${id} -type f -exec sha256sum {} +`]);
  // The place is another one now.
  expect(await world.steward('backup create')).toMatchObject({ errorId: 'backup.destination-empty' });
  for (const line of ['backup scan', 'backup create', 'backup scan']) expect(await world.steward(line)).toMatchObject({ outcome: 'done' });
  expect(await world.steward('backup scan')).toMatchObject({ result: { destinations: [{ extra: [], damaged: [] }] } });
  expect(await run(['sh', '-c', `cd '${folder}' && find ${id} -type f -exec sha256sum {} +`])).toBe(held);
  expect(await sql({ ...world.postgres.superuser, name: 'synapse' }, 'SELECT 1')).not.toBe('');
});
