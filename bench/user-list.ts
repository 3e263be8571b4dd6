import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../kit/process.ts';
import { startProxy } from '../kit/proxy.ts';
import { absoluteLimit, ratioLimit, type Limit, type Side } from './limit.ts';
import { forgetPeak, peakMemory, residentMemory } from './memory.ts';
import { timed } from './program.ts';
import { seedUsers, users } from './seed.ts';
import { commands, type World } from './world.ts';
import { setTimeout as sleep } from 'node:timers/promises';

const on = `${users} accounts in Synapse on PostgreSQL with fsync`;
const limit = 100;
const exports = 7;
const loopPage = 1000;
/** Milliseconds after which a daemon that has started is at rest. */
const rest = 15_000;

/** The first page: on the daemon's socket, and of Synapse itself. */
export async function userList(world: World): Promise<Limit[]> {
  await seedUsers(world);
  const body = JSON.stringify({ words: ['user', 'list', `--limit=${limit}`], items: null, secrets: {} });
  const ours = [
    'curl',
    '-sS',
    '--fail',
    '--unix-socket',
    world.socket,
    '-H',
    'content-type: application/json',
    '-d',
    body,
    'http://steward/v1/commands',
  ];
  const asked = await pathsAsked(world, () => run(ours as [string, ...string[]]));
  const theirs = curl(world, asked[0] ?? '');

  const daemon = await world.startSteward();
  const steward: number[] = [];
  const rival: number[] = [];
  try {
    for (let round = -5; round < 40; round += 1) {
      const turns = [async () => rival.push(1000 * (await timed(theirs))), async () => steward.push(1000 * (await timed(ours)))];
      for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
      if (round < 0) steward.length = rival.length = 0;
    }
  } finally {
    await daemon.stop();
  }
  const ran = `curl --unix-socket steward.sock -d '${body}' http://steward/v1/commands`;
  return [
    ratioLimit(
      'user-list',
      1.3,
      { ran, unit: 'ms', values: steward },
      { ran: `curl -H @authorization 'URL${asked[0] ?? ''}'`, unit: 'ms', values: rival },
      on,
    ),
    absoluteLimit('user-list-requests', 1, { ran, unit: 'requests', values: [asked.length] }, on),
  ];
}

/** All accounts: by the shell through the daemon, and by curl a page at a time. */
export async function userListCsv(world: World): Promise<Limit[]> {
  await seedUsers(world);
  const out = join(world.scratch, 'users.csv');
  const ours = ['sh', '-c', '"$@" >"$0"', out, ...world.shell('user', 'list', '--csv')];
  const [first = ''] = await pathsAsked(world, () => run(['sh', '-c', '"$@" | head -c 1', 'sh', ...world.shell('user', 'list', '--csv')]));
  const query = first.replace(/\bfrom=\d+/, 'from=$FROM').replace(/\blimit=\d+/, `limit=${loopPage}`);
  const loop = `for FROM in $(seq 0 ${loopPage} ${users}); do ${curl(world, query).map(quoted).join(' ')} || exit 1; done >"$0"`;
  const seconds: Record<'steward' | 'rival', number[]> = { steward: [], rival: [] };
  const above: number[] = [];
  for (let round = 0; round < exports; round += 1) {
    seconds.rival.push(await timed(['sh', '-c', loop, join(world.scratch, 'users.json')]));
    const daemon = await world.startSteward();
    try {
      await sleep(rest);
      const idle = residentMemory(daemon.pid);
      forgetPeak(daemon.pid);
      // The first one compiles what the second runs, and counts for the memory alone.
      await timed(ours);
      seconds.steward.push(await timed(ours));
      above.push(peakMemory(daemon.pid) - idle);
    } finally {
      await daemon.stop();
    }
    const lines = (await readFile(out, 'utf8')).trimEnd().split('\n').length - 1;
    if (lines < users) throw new Error(`the file has ${lines} accounts of ${users}`);
  }
  const steward: Side = { ran: `steward user list --csv >users.csv, by ${commands.steward}`, unit: 's', values: seconds.steward };
  return [
    ratioLimit(
      'user-list-csv',
      0.3,
      steward,
      {
        ran: `for FROM in $(seq 0 ${loopPage} ${users}); do curl -H @authorization "URL${query}"; done >users.json`,
        unit: 's',
        values: seconds.rival,
      },
      on,
    ),
    absoluteLimit(
      'user-list-csv-memory',
      60,
      { ran: `${steward.ran}: twice: VmHWM of the daemon above its VmRSS before`, unit: 'MiB', values: above },
      on,
    ),
  ];
}

/** Paths and queries of the Admin API that Steward asks for while `work` runs, seen by a proxy. */
async function pathsAsked(world: World, work: () => Promise<unknown>): Promise<string[]> {
  const proxy = await startProxy(world.synapse.url);
  const daemon = await world.startSteward(proxy.url);
  try {
    await work();
    return proxy.requests.map(({ path }) => path).filter((path) => path.startsWith('/_synapse/'));
  } finally {
    await daemon.stop();
    await proxy.stop();
  }
}

function curl({ synapse, authorization }: World, path: string): string[] {
  return ['curl', '-sS', '--fail', '-H', `@${authorization}`, `${synapse.url}${path}`];
}

/** In double quotes, so that the shell puts in the variable. */
function quoted(word: string): string {
  return `"${word}"`;
}
