import { statSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from '../kit/postgres.ts';
import { openBackups, removeMedia, seedMedia, seedRows, type Made } from './backup-world.ts';
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
  await backups.create({ empty: true });
  for (let round = 0; round < rounds; round += 1) {
    rival.push(await backups.shell(`${backups.programs}/pg_dump ${backups.address} synapse | gzip > ${out} && sync ${out}`));
    made.push(await backups.create({ empty: true }));
  }
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
  ];
}

/** 4 000 files that do not compress, 1 GB, none of them copied before: time against `tar | gzip`. */
export async function backupMedia(world: World): Promise<Limit[]> {
  await seedMedia(world, 4000, 250_000, Date.now());
  const backups = await openBackups(world);
  const out = join(world.scratch, 'rival.tar.gz');
  const made: number[] = [];
  const rival: number[] = [];
  await backups.create({ empty: true });
  for (let round = 0; round < rounds; round += 1) {
    rival.push(await backups.shell(`tar -c -C ${world.synapse.mediaPath} . | gzip > ${out} && sync ${out}`));
    made.push((await backups.create({ empty: true })).seconds);
  }
  return [
    ratioLimit(
      'backup-media',
      1 / 7,
      { ran: `${toManifest}, an empty database with it`, unit: 's', values: made },
      { ran: 'tar -c media_store | gzip > FILE', unit: 's', values: rival },
      '4 000 files of 250 kB of random bytes, each hashed and compared with the database, flushed to the disk',
    ),
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
  return [
    ratioLimit(
      'backup-verify',
      1 / 0.8,
      { ran: 'steward backup verify ID --level 2, its start with it; every object hashed too', unit: 's', values: steward },
      { ran: 'age -d | zstd -d | pg_restore -f /dev/null, and age -d > /dev/null for each other object', unit: 's', values: rival },
      'the same dump of 1 GB, the files in memory',
    ),
  ];
}

async function plainBytes({ database }: World): Promise<number> {
  return Number(await sql(database, 'SELECT pg_database_size(current_database())'));
}
