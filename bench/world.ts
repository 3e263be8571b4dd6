import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { readFile } from 'node:fs/promises';
import type { Progress } from '../kit/cache.ts';
import { openClient, type MatrixClient } from '../kit/client.ts';
import type { EncryptedClientOptions } from '../kit/encrypted-client.ts';
import { sql, startPostgres, type Database, type Postgres } from '../kit/postgres.ts';
import { freePort, run } from '../kit/process.ts';
import { startSynapse, type Synapse } from '../kit/synapse.ts';
import { startProgram, type Program } from './program.ts';

/** A homeserver on PostgreSQL with fsync, a room, and in it alice, Steward as `steward init` leaves it, and an echo bot in a plain room. */
export interface World {
  synapse: Synapse;
  database: Database;
  postgres: Postgres;
  alice: MatrixClient;
  /** Another owner, who may approve what alice asks for. */
  bob: MatrixClient;
  roomId: string;
  /** The room of the echo bot, which does not encrypt: the same one where that is plain. */
  echoRoomId: string;
  /** The bot's account. */
  bot: MatrixClient;
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
  /** @param homeserver another address of it, such as a proxy's @param env settings beside those of the file */
  startSteward(homeserver?: string, env?: Readonly<Record<string, string>>): Promise<Program>;
  startEcho(): Promise<Program>;
}

/** What runs, with words for paths and tokens. */
export const commands = {
  steward: 'steward run --config steward.yaml (dist/main.js)',
  echo: 'node bench/rivals/echo.mjs URL TOKEN-FILE (matrix-bot-sdk 0.8.0)',
} as const;

const root = resolve(import.meta.dirname, '..');
/** What the package installs as `steward`. */
const program = 'dist/main.js';

/** Starts the homeserver and installs both bots. @param encrypted Steward's room, and alice at a client that encrypts @param cleanup takes what must be ended */
export async function openWorld(progress: Progress, cleanup: AsyncDisposableStack, encrypted: boolean): Promise<World> {
  const dir = await mkdtemp(join(tmpdir(), 'steward-bench-'));
  cleanup.defer(() => rm(dir, { recursive: true, force: true }));
  progress('building Steward as it is installed');
  await run([process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '--project', join(root, 'tsconfig.build.json')]);
  progress('starting PostgreSQL and Synapse');
  const postgres = await startPostgres({ durable: true });
  cleanup.defer(() => postgres.dispose());
  const database = await postgres.createDatabase({ name: 'synapse' });
  const synapse = await startSynapse({ dir: join(dir, 'synapse'), database: { postgres: database } });
  cleanup.defer(() => synapse.dispose());
  await settled(database);

  const account = async (localpart: string) => ({
    url: synapse.url,
    ...(await synapse.register({ localpart, admin: localpart === 'alice' })),
  });
  const [bob, echo] = [openClient(await account('bob')), openClient(await account('echo'))];
  const alice = encrypted ? await secure(await account('alice'), cleanup) : openClient(await account('alice'));
  const configPath = await install(join(dir, 'steward'), synapse, encrypted);
  const { roomId, stewardId, token } = await installed(configPath);
  await alice.join(roomId);
  await bob.join(roomId);
  const echoRoomId = encrypted ? await alice.createRoom({ preset: 'private_chat' }) : roomId;
  await alice.invite(echoRoomId, echo.userId);
  await echo.join(echoRoomId);
  const echoToken = join(dir, 'echo-token');
  await writeFile(echoToken, echo.accessToken, { mode: 0o600 });
  const authorization = join(dir, 'authorization');
  await writeFile(authorization, `Authorization: Bearer ${token}\n`, { mode: 0o600 });

  const steward = [process.execPath, join(root, program)];
  return {
    synapse,
    database,
    postgres,
    alice,
    bob,
    roomId,
    echoRoomId,
    bot: openClient({ url: synapse.url, userId: stewardId, accessToken: token }),
    stewardId,
    echoId: echo.userId,
    socket: join(dir, 'steward', 'data', 'steward.sock'),
    shell: (...words) => [...steward, ...words, '--config', configPath],
    authorization,
    scratch: dir,
    startSteward: (homeserver = synapse.url, env = {}) =>
      startProgram([...steward, 'run', '--config', configPath], /\bready\b/, { ...env, STEWARD_HOMESERVER__URL: homeserver }),
    startEcho: () => startProgram([process.execPath, join(root, 'bench/rivals/echo.mjs'), synapse.url, echoToken], /^ready$/m),
  };
}

/** A client that encrypts, with a device that its owner has signed. Its library is loaded where it is needed. */
async function secure(account: EncryptedClientOptions, cleanup: AsyncDisposableStack): Promise<MatrixClient> {
  const { openEncryptedClient } = await import('../kit/encrypted-client.ts');
  const client = await openEncryptedClient(account);
  cleanup.defer(() => {
    client.close();
  });
  return client;
}

/** A new Synapse builds a part of its schema while it runs already. */
async function settled(database: Database): Promise<void> {
  while (Number(await sql(database, 'SELECT count(*) FROM background_updates')) > 0) await sleep(100);
}

/** As an operator would, by two commands; only the port of the health checks is another than `init` chooses. */
async function install(dir: string, synapse: Synapse, encrypted: boolean): Promise<string> {
  const configPath = join(dir, 'steward.yaml');
  await mkdir(dir, { mode: 0o700 });
  await writeFile(configPath, stringify({ http: { listen: `127.0.0.1:${await freePort()}` } }), { mode: 0o600 });
  const people = ['alice', 'bob'].flatMap((name) => ['--person', `${name}=@${name}:${synapse.serverName}`]);
  await run([
    process.execPath,
    relative(process.cwd(), join(root, program)),
    'init',
    '--dir',
    dir,
    '--homeserver',
    synapse.url,
    '--registration-secret-file',
    synapse.registrationSharedSecretPath,
    ...people,
    ...(encrypted ? [] : ['--plain']),
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
