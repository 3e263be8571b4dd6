import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Progress } from '../kit/cache.ts';
import { isFree } from '../kit/process.ts';
import { readConfig } from '../kit/synapse-config.ts';
import { startSynapse } from '../kit/synapse.ts';
import { serveControl } from './control.ts';
import { isOnPostgres, openDatabase, type DemoDatabase } from './database.ts';
import { databasePasswordPath, install, readInstalled } from './install.ts';
import { openAccounts, People, type Accounts } from './people.ts';
import { runLine, writeProgram } from './program.ts';
import { RoomLog } from './room.ts';
import type { Stage } from './script/stage.ts';
import { until } from './script/until.ts';
import { StewardProcess } from './steward.ts';

export interface WorldOptions {
  /** Folder of the data, of this time or an earlier one; without it they are thrown away. */
  keep: string | undefined;
  /** Whether a room that is made now is not encrypted. */
  plain: boolean;
  /** Whether the data of a homeserver that is made now lie in PostgreSQL. */
  postgres: boolean;
  /** Relative paths start here. */
  folder: string;
  progress: Progress;
  /** Takes what is to be ended, in turn; what is in it when something fails must be ended too. */
  cleanup: AsyncDisposableStack;
}

/** A homeserver with people, an admin room, and Steward in it. */
export interface World extends Stage {
  readonly room: RoomLog;
  readonly accounts: Accounts;
  readonly url: string;
  /** Path of the program `steward` for this world. */
  readonly program: string;
}

/** Starts everything there is. Errors: with the end of the log of what did not start. */
export async function openWorld({ keep, plain, postgres, folder, progress, cleanup }: WorldOptions): Promise<World> {
  const dir = keep === undefined ? await mkdtemp(join(tmpdir(), 'steward-demo-')) : resolve(folder, keep);
  if (keep === undefined) cleanup.defer(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));
  await mkdir(dir, { recursive: true });
  const found = await readdir(dir);
  if (found.length > 0 && !found.includes('synapse')) throw new Error(`${dir} holds something else than a demo`);
  // Secrets lie here, and the folder may be in somebody's work tree.
  await writeFile(join(dir, '.gitignore'), '*\n');

  await refuseInUse(join(dir, 'synapse'));
  const configPath = join(dir, 'steward', 'steward.yaml');
  if (postgres && found.includes('synapse') && !isOnPostgres(dir)) throw new Error(`${dir} holds a demo on SQLite`);
  const database = postgres || isOnPostgres(dir) ? await startDatabase(dir, configPath, progress, cleanup) : null;
  progress('starting Synapse');
  const synapse = await startSynapse({
    dir: join(dir, 'synapse'),
    ...(database === null ? {} : { database: { postgres: database.synapse } }),
  });
  cleanup.defer(() => synapse.stop());
  const control = await serveControl(dir, synapse);
  cleanup.defer(() => {
    control.close();
  });
  const accounts = await openAccounts(dir, synapse);

  const program = await writeProgram(join(dir, 'bin'), configPath);
  const installed = join(dir, 'installed');
  const isNew = !existsSync(installed);
  if (isNew) {
    progress('running steward init');
    await install({
      ...{ program, configPath, synapse, accounts, plain, control: control.commands, backupsDir: join(dir, 'backups') },
      databaseUser: database?.steward ?? null,
    });
    await writeFile(installed, '');
  }
  const { botId, roomId, healthUrl } = await readInstalled(configPath);
  const people = new People(accounts, synapse.url, roomId, keep === undefined ? null : dir);
  cleanup.defer(() => people.close());
  const room = await RoomLog.open(await people.seated('alice'), roomId);
  cleanup.defer(() => {
    room.close();
  });
  await people.seated('bob');

  progress('starting Steward');
  const logPath = join(dir, 'steward.log');
  const steward = new StewardProcess({ program, configPath, logPath, healthUrl });
  cleanup.defer(() => steward.stop());
  await steward.start();
  // The greeting is no answer to what comes next.
  if (isNew) await until(() => room.events.find((event) => event.sender === botId && event.type === 'm.room.message'), 10_000);

  const tokens = Object.entries(accounts).map(([name, { accessToken }]) => [`${name.toUpperCase()}_TOKEN`, accessToken]);
  const environment = {
    DEMO_DIR: dir,
    DEMO_URL: synapse.url,
    DEMO_SERVER_NAME: synapse.serverName,
    DEMO_ROOM: roomId,
    DEMO_BOT: botId,
    DEMO_LOG: logPath,
    DEMO_HEALTH_URL: healthUrl,
    STEWARD_CONFIG: configPath,
    ...(Object.fromEntries(tokens) as Record<string, string>),
  };
  const env = { ...environment, PATH: `${join(dir, 'bin')}:${process.env['PATH'] ?? ''}` };
  return {
    ...{ accounts, url: synapse.url, program, room, botId, environment, folder, steward },
    person: (name) => people.seated(name),
    run: (command, input = '') => runLine(command, { input, cwd: folder, env }),
  };
}

async function startDatabase(dir: string, configPath: string, progress: Progress, cleanup: AsyncDisposableStack): Promise<DemoDatabase> {
  progress('starting PostgreSQL');
  await mkdir(dirname(configPath), { recursive: true, mode: 0o700 });
  return openDatabase(dir, databasePasswordPath(configPath), cleanup);
}

async function refuseInUse(synapseDir: string): Promise<void> {
  const before = await readConfig(synapseDir);
  if (before !== null && !(await isFree(before.port)))
    throw new Error(`the port ${before.port} of the homeserver in ${synapseDir} is in use: does a demo run there already?`);
}
