import { statSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from '../kit/postgres.ts';
import { openBackups, removeMedia, seedMedia, seedRows, withDaemon, type Made } from './backup-world.ts';
import { ratioLimit, type Limit } from './limit.ts';
import type { World } from './world.ts';

const rounds = 5;
const toManifest = 'steward backup create (zstd, age, SHA-256), from its first step to the manifest on the disk';
const megabytes = (bytes: number): number => bytes / 1e6;

/** A database of 1 GB: time and size against `pg_dump | gzip`. */
export async function backupDatabase(world: World): Promise<Limit[]> {
  await seedRows(world);
  await removeMedia(world);
  const backups = await openBackups(world);
  const out = join(world.scratch, 'rival.sql.gz');
  const made: Made[] = [];
  const rival: number[] = [];
  const { memory } = await withDaemon(backups, async () => {
    await backups.create({ empty: true });
    for (let round = 0; round < rounds; round += 1) {
      rival.push(await backups.shell(`${backups.programs}/pg_dump ${backups.address} synapse | gzip > ${out} && sync ${out}`));
      made.push(await backups.create({ empty: true }));
    }
  });
  const proof = made.map(({ proof: seconds, level }) => `L${level} in ${seconds} s`).join(', ');
  const on = `${Math.round(megabytes(await plainBytes(world)))} MB in PostgreSQL, each copy flushed to the disk; the proof after it: ${proof}`;
  return [
    ratioLimit(
      'backup-database',
      1 / 3.7,
      { ran: toManifest, unit: 's', values: made.map(({ seconds }) => seconds) },
      { ran: 'pg_dump synapse | gzip > FILE', unit: 's', values: rival },
      on,
    ),
    ratioLimit(
      'backup-database-size',
      0.92,
      { ran: toManifest, unit: 'MB', values: made.map(({ databaseBytes }) => megabytes(databaseBytes)) },
      { ran: 'pg_dump synapse | gzip > FILE', unit: 'MB', values: made.map(() => megabytes(statSync(out).size)) },
      on,
    ),
    memory('backup-database', 'the proof with it'),
  ];
}

/** 4 000 files that do not compress, 1 GB, none of them copied before: time against `tar | gzip`. */
export async function backupMedia(world: World): Promise<Limit[]> {
  await removeMedia(world);
  await seedMedia(world, 4000, 250_000, Date.now());
  const backups = await openBackups(world);
  const out = join(world.scratch, 'rival.tar.gz');
  const made: number[] = [];
  const rival: number[] = [];
  const { memory } = await withDaemon(backups, async () => {
    await backups.create({ empty: true });
    for (let round = 0; round < rounds; round += 1) {
      rival.push(await backups.shell(tarred(world, out)));
      made.push((await backups.create({ empty: true })).seconds);
    }
  });
  return [
    ratioLimit(
      'backup-media',
      1 / 7,
      { ran: `${toManifest}, an empty database with it`, unit: 's', values: made },
      { ran: 'tar -c media_store | gzip > FILE', unit: 's', values: rival },
      '4 000 files of 250 kB of random bytes, each hashed and compared with the database, flushed to the disk',
    ),
    memory('backup-media', 'the proof with it'),
  ];
}

const tarred = ({ synapse }: World, out: string): string => `tar -c -C ${synapse.mediaPath} . | gzip > ${out} && sync ${out}`;

/** 200 000 files that were copied before, and then 1 % more: time and bytes against `tar | gzip` of all, as it is without a memory. */
export async function backupMediaSecond(world: World): Promise<Limit[]> {
  const [files, bytes] = [200_000, 5000];
  await removeMedia(world);
  await seedMedia(world, files, bytes, Date.now() - 30 * 86_400_000);
  const backups = await openBackups(world);
  const out = join(world.scratch, 'rival.tar.gz');
  const made: Made[] = [];
  const rival: { seconds: number; bytes: number }[] = [];
  const { found: first, memory } = await withDaemon(backups, async () => {
    const { seconds } = await backups.create({ empty: true });
    for (let round = 0; round < rounds; round += 1) {
      await seedMedia(world, files / 100, bytes, Date.now());
      rival.push({ seconds: await backups.shell(tarred(world, out)), bytes: statSync(out).size });
      made.push(await backups.create({ empty: false }));
    }
    return seconds;
  });
  await removeMedia(world);
  const on = `${files} files of ${bytes / 1000} kB of random bytes, the first of which took ${first.toFixed(1)} s; each round ${files / 100} more`;
  return [
    ratioLimit(
      'backup-media-second',
      1 / 10,
      { ran: toManifest, unit: 's', values: made.map(({ seconds }) => seconds) },
      { ran: 'tar -c media_store | gzip > FILE', unit: 's', values: rival.map(({ seconds }) => seconds) },
      on,
    ),
    ratioLimit(
      'backup-media-second-size',
      1 / 80,
      {
        ran: `${toManifest}: all that the destination has more, but for the database`,
        unit: 'MB',
        values: made.map(({ bytes, databaseBytes }) => megabytes(bytes - databaseBytes)),
      },
      { ran: 'tar -c media_store | gzip > FILE', unit: 'MB', values: rival.map(({ bytes: size }) => megabytes(size)) },
      on,
    ),
    memory('backup-media-second', on),
  ];
}

/** A stored backup read to its end: against the programs one would type. */
export async function backupVerify(world: World): Promise<Limit[]> {
  await seedRows(world);
  await removeMedia(world);
  const backups = await openBackups(world);
  const { id } = await backups.create({ empty: true });
  const folder = join(backups.disk, id);
  const epoch = join(world.scratch, 'epoch.key');
  await backups.shell(`age -d -i ${backups.key} ${folder}/keys/epoch-*.age > ${epoch}`);
  const steward: number[] = [];
  const rival: number[] = [];
  const { memory } = await withDaemon(backups, async () => {
    for (let round = 0; round < rounds; round += 1) {
      rival.push(
        await backups.shell(
          `for object in ${folder}/{media,config,secrets}/*.age ${folder}/keys/signing-key.tar.age; do if [ -e $object ]; then age -d -i ${epoch} $object > /dev/null; fi; done
        age -d -i ${epoch} ${folder}/database/synapse.dump.zst.age | zstd -d | ${backups.programs}/pg_restore -f /dev/null`,
        ),
      );
      const at = performance.now();
      await backups.steward('backup', 'verify', id, '--level', '2');
      steward.push((performance.now() - at) / 1000);
    }
    await backups.steward('backup', 'verify', id, '--level', '4');
  });
  return [
    ratioLimit(
      'backup-verify',
      1 / 0.8,
      { ran: 'steward backup verify ID --level 2, at the daemon; every object hashed too', unit: 's', values: steward },
      { ran: 'age -d | zstd -d | pg_restore -f /dev/null, and age -d > /dev/null for each other object', unit: 's', values: rival },
      'the same dump of 1 GB, the files in memory',
    ),
    memory('backup-verify', 'of all rounds, and of level 4 after them: the dump loaded and compared'),
  ];
}

async function plainBytes({ database }: World): Promise<number> {
  return Number(await sql(database, 'SELECT pg_database_size(current_database())'));
}
