import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from '../kit/postgres.ts';
import { run } from '../kit/process.ts';
import { synapseControl } from '../kit/synapse-control.ts';
import { openBackups, removeMedia, seedRows, withDaemon } from './backup-world.ts';
import { absoluteLimit, type Limit, type Side } from './limit.ts';
import type { World } from './world.ts';

const rounds = 5;
/** Milliseconds between questions to the homeserver. */
const every = 20;
/** Times that the rows of 1 GB are there for the second size. */
const larger = 4;

/** How long clients are without an answer in a cutover and in an undo, at 1 GB and at 4 GB. */
export async function restoreSwaps(world: World): Promise<Limit[]> {
  await seedRows(world);
  await removeMedia(world);
  const settings = await controlled(world);
  const limits: Limit[] = [];
  for (const size of ['1 GB', '4 GB']) {
    if (size === '4 GB') await growRows(world);
    limits.push(...(await measured(world, settings, size)));
  }
  await givenBack(world);
  return limits;
}

/** Synapse is a child of the bench again, which ends with it. */
async function givenBack({ synapse }: World): Promise<void> {
  const { stop, status } = await synapseControl(synapse.dir);
  await run(stop as [string, ...string[]]);
  const runs = (): Promise<boolean> =>
    run(status as [string, ...string[]]).then(
      () => true,
      () => false,
    );
  while (await runs()) await sleep(100);
  await synapse.start();
}

async function measured(world: World, settings: Record<string, string>, size: string): Promise<Limit[]> {
  const backups = await openBackups(world, settings);
  const { memory } = await withDaemon(backups, async () => {
    await backups.create({ empty: true });
    await backups.steward('restore', 'prepare', 'latest', '--yes');
  });
  const cutover: number[] = [];
  const undo: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    cutover.push(await away(world, () => backups.steward('restore', 'cutover', 'latest', '--break-glass', 'bench')));
    undo.push(await away(world, () => backups.steward('restore', 'undo', 'latest', '--yes')));
  }
  await backups.steward('restore', 'finish', 'latest', '--break-glass', 'bench');
  const bytes = Number(await sql(world.database, 'SELECT pg_database_size(current_database())'));
  const on = `${Math.round(bytes / 1e6)} MB in PostgreSQL; from the last answer 200 to the first on /_matrix/client/versions, asked every ${every} ms`;
  const name = size === '1 GB' ? '' : `-${size.replace(' ', '').toLowerCase()}`;
  const side = (ran: string, values: number[]): Side => ({ ran, unit: 's', values });
  return [
    absoluteLimit(`restore-downtime${name}`, 15, side('steward restore cutover', cutover), on),
    absoluteLimit(`restore-undo${name}`, 15, side('steward restore undo', undo), on),
    memory(
      `restore-prepare${name}`,
      `a backup of ${Math.round(bytes / 1e6)} MB in PostgreSQL, its proof, and its load beside the live database`,
    ),
  ];
}

/** Seconds that the homeserver does not answer while `work` is done. */
async function away({ synapse }: World, work: () => Promise<unknown>): Promise<number> {
  let last = performance.now();
  let longest = 0;
  const done = new AbortController();
  const asking = (async () => {
    while (!done.signal.aborted) {
      const answers = await fetch(`${synapse.url}/_matrix/client/versions`, { headers: { connection: 'close' } }).then(
        (answer) => answer.ok,
        () => false,
      );
      const now = performance.now();
      if (answers) {
        longest = Math.max(longest, now - last);
        last = now;
      }
      await sleep(every);
    }
  })();
  await work();
  done.abort();
  await asking;
  return longest / 1000;
}

/** Synapse as a daemon that Steward stops and starts. @returns Steward's settings for that */
async function controlled({ synapse, postgres, database }: World): Promise<Record<string, string>> {
  await sql(postgres.superuser, `ALTER ROLE ${database.user} CREATEDB; GRANT pg_signal_backend TO ${database.user};`);
  await synapse.stop();
  await appendFile(synapse.configPath, `pid_file: ${join(synapse.dir, 'homeserver.pid')}\n`);
  const control = await synapseControl(synapse.dir);
  await run(control.start as [string, ...string[]]);
  while (
    !(await fetch(`${synapse.url}/health`).then(
      (answer) => answer.ok,
      () => false,
    ))
  )
    await sleep(100);
  return Object.fromEntries(
    (['status', 'stop', 'start'] as const).map((key) => [
      `STEWARD_STACK__COMPONENTS__SYNAPSE__${key.toUpperCase()}`,
      JSON.stringify(control[key]),
    ]),
  );
}

async function growRows({ database }: World): Promise<void> {
  for (let copy = 1; copy < larger; copy += 1)
    await sql(
      database,
      `INSERT INTO event_json SELECT event_id || '-${copy}', room_id, internal_metadata, json, format_version FROM event_json WHERE event_id ~ '^.seed[0-9]+$';
      INSERT INTO state_groups_state SELECT state_group + ${copy} * 1000000, room_id, type, state_key, event_id FROM state_groups_state WHERE state_group BETWEEN 1000000 AND 1999999;`,
    );
}
