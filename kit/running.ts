import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheFolder } from './cache.ts';

/** What a kit in some process has running, with the addresses and files to use it. */
export interface Running {
  pid: number;
  detached: boolean;
  synapse?: {
    url: string;
    serverName: string;
    dir: string;
    configFile: string;
    logFile: string;
    registrationSharedSecretFile: string;
    admin: { userId: string; passwordFile: string; accessTokenFile: string };
  };
  postgres?: {
    host: string;
    port: number;
    dir: string;
    logFile: string;
    programs: string;
    superuser: string;
    superuserPasswordFile: string;
    database: string;
    user: string;
    passwordFile: string;
  };
}

const folder = () => join(cacheFolder(), 'kit');
const fileOf = (pid: number) => join(folder(), `${pid}.json`);
const main = join(import.meta.dirname, 'main.ts');

/** Makes it known to `list` and `down`. */
export async function announce(running: Running): Promise<void> {
  await mkdir(folder(), { recursive: true });
  await writeFile(fileOf(running.pid), JSON.stringify(running), { mode: 0o600 });
}

export async function withdraw(pid: number): Promise<void> {
  await rm(fileOf(pid), { force: true });
}

/** Everything that runs; what was left behind by a process that is gone is cleared away. */
export async function list(): Promise<Running[]> {
  const names = await readdir(folder()).catch(() => []);
  const found: Running[] = [];
  for (const pid of names.filter((name) => name.endsWith('.json')).map((name) => Number.parseInt(name, 10))) {
    if (isKit(pid)) found.push(JSON.parse(await readFile(fileOf(pid), 'utf8')) as Running);
    else await withdraw(pid);
  }
  return found;
}

function isKit(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(main);
  } catch {
    return false;
  }
}

/** Starts this kit with `args` in the background and waits until it has announced itself. Errors: what it said when it could not. */
export async function detach(args: string[]): Promise<Running> {
  await mkdir(folder(), { recursive: true });
  const path = join(folder(), 'detached.log');
  const log = await open(path, 'w');
  const child = spawn(process.execPath, [...process.execArgv, main, ...args], {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    env: { ...process.env, STEWARD_KIT_DETACHED: '1' },
  });
  await log.close();
  const pid = child.pid as number;
  while (child.exitCode === null && !existsSync(fileOf(pid))) await sleep(50);
  if (child.exitCode !== null) throw new Error((await readFile(path, 'utf8')).trim());
  child.unref();
  return JSON.parse(await readFile(fileOf(pid), 'utf8')) as Running;
}

/** Ends what `detach` started and waits until it is gone. Returns what was ended. */
export async function endDetached(): Promise<Running[]> {
  const detached = (await list()).filter((running) => running.detached);
  for (const { pid } of detached) process.kill(pid, 'SIGTERM');
  while (detached.some(({ pid }) => isKit(pid))) await sleep(50);
  return detached;
}
