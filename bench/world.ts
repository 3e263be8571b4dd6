import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { readFile } from 'node:fs/promises';
import type { Progress } from '../kit/cache.ts';
import { openClient, type MatrixClient } from '../kit/client.ts';
import { sql, startPostgres, type Database } from '../kit/postgres.ts';
import { freePort, run } from '../kit/process.ts';
import { startSynapse, type Synapse } from '../kit/synapse.ts';
import { startProgram, type Program } from './program.ts';

/** A homeserver on PostgreSQL with fsync, a room, and in it alice, Steward as `steward init` leaves it, and an echo bot. */
export interface World {
  synapse: Synapse;
  database: Database;
  alice: MatrixClient;
  /** Another owner, who may approve what alice asks for. */
  bob: MatrixClient;
  roomId: string;
  stewardId: string;
  echoId: string;
  /** The daemon's socket. */
  socket: string;
  /** The shell's command `steward …`, for the daemon of this world. */
  shell: (...words: readonly string[]) => string[];
  /** A file for `curl -H @FILE`, with the bot's own token. */
  authorization: string;
  /** A folder for what a bench writes. */
  scratch: string;
  /** @param homeserver another address of it, such as a proxy's */
  startSteward(homeserver?: string): Promise<Program>;
  startEcho(): Promise<Program>;
}

/** What runs, with words for paths and tokens. */
export const commands = {
  steward: 'node src/main.ts run --config steward.yaml',
  echo: 'node bench/rivals/echo.mjs URL TOKEN-FILE (matrix-bot-sdk 0.8.0)',
} as const;

const root = resolve(import.meta.dirname, '..');

/** Starts the homeserver and installs both bots. @param cleanup takes what must be ended */
export async function openWorld(progress: Progress, cleanup: AsyncDisposableStack): Promise<World> {
  const dir = await mkdtemp(join(tmpdir(), 'steward-bench-'));
  cleanup.defer(() => rm(dir, { recursive: true, force: true }));
  progress('starting PostgreSQL and Synapse');
  const postgres = await startPostgres({ durable: true });
  cleanup.defer(() => postgres.dispose());
  const database = await postgres.createDatabase({ name: 'synapse' });
  const synapse = await startSynapse({ dir: join(dir, 'synapse'), database: { postgres: database } });
  cleanup.defer(() => synapse.dispose());
  await settled(database);

  const [alice, bob, echo] = await Promise.all(
    ['alice', 'bob', 'echo'].map(async (localpart) =>
      openClient({ url: synapse.url, ...(await synapse.register({ localpart, admin: localpart === 'alice' })) }),
    ),
  );
  if (alice === undefined || bob === undefined || echo === undefined) throw new Error('an account is missing');
  const configPath = await install(join(dir, 'steward'), synapse);
  const { roomId, stewardId, token } = await installed(configPath);
  await alice.join(roomId);
  await bob.join(roomId);
  await alice.invite(roomId, echo.userId);
  await echo.join(roomId);
  const echoToken = join(dir, 'echo-token');
  await writeFile(echoToken, echo.accessToken, { mode: 0o600 });
  const authorization = join(dir, 'authorization');
  await writeFile(authorization, `Authorization: Bearer ${token}\n`, { mode: 0o600 });

  const steward = [process.execPath, join(root, 'src/main.ts')];
  return {
    synapse,
    database,
    alice,
    bob,
    roomId,
    stewardId,
    echoId: echo.userId,
    socket: join(dir, 'steward', 'data', 'steward.sock'),
    shell: (...words) => [...steward, ...words, '--config', configPath],
    authorization,
    scratch: dir,
    startSteward: (homeserver = synapse.url) =>
      startProgram([...steward, 'run', '--config', configPath], /\bready\b/, { STEWARD_HOMESERVER__URL: homeserver }),
    startEcho: () => startProgram([process.execPath, join(root, 'bench/rivals/echo.mjs'), synapse.url, echoToken], /^ready$/m),
  };
}

/** A new Synapse builds a part of its schema while it runs already. */
async function settled(database: Database): Promise<void> {
  while (Number(await sql(database, 'SELECT count(*) FROM background_updates')) > 0) await sleep(100);
}

/** As an operator would, by two commands; only the port of the health checks is another than `init` chooses. */
async function install(dir: string, synapse: Synapse): Promise<string> {
  const configPath = join(dir, 'steward.yaml');
  await mkdir(dir, { mode: 0o700 });
  await writeFile(configPath, stringify({ http: { listen: `127.0.0.1:${await freePort()}` } }), { mode: 0o600 });
  const people = ['alice', 'bob'].flatMap((name) => ['--person', `${name}=@${name}:${synapse.serverName}`]);
  await run([
    process.execPath,
    relative(process.cwd(), join(root, 'src/main.ts')),
    'init',
    '--dir',
    dir,
    '--homeserver',
    synapse.url,
    '--registration-secret-file',
    synapse.registrationSharedSecretPath,
    ...people,
    '--plain',
    '--yes',
  ]);
  return configPath;
}

async function installed(configPath: string): Promise<{ roomId: string; stewardId: string; token: string }> {
  const { homeserver, room } = parse(await readFile(configPath, 'utf8')) as {
    homeserver: { user_id: string; access_token_file: string };
    room: { id: string };
  };
  const token = await readFile(resolve(configPath, '..', homeserver.access_token_file), 'utf8');
  return { roomId: room.id, stewardId: homeserver.user_id, token: token.trim() };
}
