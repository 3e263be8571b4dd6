import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdir, open, readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A user of this machine. */
export interface User {
  uid: number;
  gid: number;
}

export interface ChildOptions {
  /** Program and arguments; no secret, every user of the machine can read them. */
  command: [string, ...string[]];
  /** Its output is appended here. */
  logPath: string;
  cwd?: string;
  /** Added to this process's environment. */
  env?: Record<string, string>;
  /** Whom to run as; needs root. */
  user?: User;
  /** The signal of a polite stop. Default SIGTERM. */
  stopSignal?: NodeJS.Signals;
  /** What it gets from the system when this process dies, even by SIGKILL. Default SIGKILL. */
  orphanSignal?: NodeJS.Signals;
}

export interface Child {
  readonly pid: number;
  readonly isRunning: boolean;
  /** How it ended, once it has: `exit code 1` or `SIGKILL`. */
  readonly end: string | null;
  /** Ends it politely, after `boundMs` (default 10 000) by SIGKILL; resolves when it is gone. May be called twice. */
  stop(boundMs?: number): Promise<void>;
  /** SIGKILL to it and to all it has started; resolves when it is gone. May be called twice. */
  kill(): Promise<void>;
}

/**
 * Starts a long-running program that cannot outlive this process.
 * Errors: the program cannot be run.
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  const { logPath, cwd, env = {}, user, stopSignal = 'SIGTERM', orphanSignal = 'SIGKILL' } = options;
  await mkdir(dirname(logPath), { recursive: true });
  const log = await open(logPath, 'a');
  // setpriv becomes the program, so the id is the program's; the kernel sends the orphan signal.
  const [program, ...args] = asUser(user, ['setpriv', `--pdeathsig=${orphanSignal.slice('SIG'.length)}`, '--', ...options.command]);
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', log.fd, log.fd],
    detached: true, // in a group of its own: Ctrl-C in a terminal is for us, who end it in order
  });
  try {
    await new Promise((resolve, reject) => child.once('spawn', () => resolve(null)).once('error', reject));
  } finally {
    await log.close();
  }
  return watched(child, stopSignal);
}

/** The command that runs `command` as another user. */
export function asUser(user: User | undefined, command: [string, ...string[]]): [string, ...string[]] {
  return user === undefined ? command : ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', '--', ...command];
}

function watched(child: ChildProcess, stopSignal: NodeJS.Signals): Child {
  const pid = child.pid as number;
  let end: string | null = null;
  const ended = new Promise<void>((resolve) =>
    child.once('exit', (code, signal) => {
      end = signal ?? `exit code ${code}`;
      resolve();
    }),
  );
  child.unref(); // a program left running does not hold this process, whose end ends it
  const kill = async () => {
    if (end !== null) return;
    child.ref();
    for (const id of [pid, ...(await descendants(pid))]) signalIfThere(id, 'SIGKILL');
    await ended;
  };
  return {
    pid,
    get isRunning() {
      return end === null;
    },
    get end() {
      return end;
    },
    kill,
    async stop(boundMs = 10_000) {
      if (end !== null) return;
      child.ref();
      child.kill(stopSignal);
      await Promise.race([ended, sleep(boundMs, undefined, { ref: false })]);
      await kill();
    },
  };
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function descendants(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => ''));
  const children = (await Promise.all(lists)).flatMap((list) => list.split(' ').filter(Boolean).map(Number));
  return [...children, ...(await Promise.all(children.map(descendants))).flat()];
}

/**
 * Asks `ready` every 50 ms until it says yes (a thrown error is a no).
 * Errors: the child ended, or `boundMs` (default 60 000) are over; both with the last lines of the log.
 */
export async function waitUntilReady(
  name: string,
  child: Child,
  logPath: string,
  ready: () => Promise<boolean>,
  boundMs = 60_000,
): Promise<void> {
  const begin = performance.now();
  while (!(await ready().catch(() => false))) {
    const why = child.end ?? (performance.now() - begin > boundMs ? `not ready after ${boundMs / 1000} s` : null);
    if (why !== null) {
      await child.kill();
      throw new Error(`${name} did not start: ${why}\n${await lastLines(logPath, 20)}\n(from ${logPath})`);
    }
    await sleep(50);
  }
}

async function lastLines(path: string, count: number): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-count).join('\n');
}

const FIRST_PORT = 20_000; // up to here + 10 000: below what the system gives to outgoing connections, so a restart finds it free
const handedOut = new Set<number>();

/** A port of 127.0.0.1 that nobody listens on and that this process was not given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + randomInt(10_000);
    if (handedOut.has(port) || !(await isFree(port))) continue;
    handedOut.add(port);
    return port;
  }
}

/** Whether `port` of 127.0.0.1 can be listened on now. */
export async function isFree(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/**
 * Runs a program to its end, or to the end of this process, and returns its standard output. `input` goes to its standard input.
 * Errors: another exit code than 0; the message has the last lines of what it said.
 */
export async function run(
  command: [string, ...string[]],
  options: { input?: string; env?: Record<string, string>; cwd?: string } = {},
): Promise<string> {
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...command], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: 'pipe',
  });
  let out = '';
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stdin.on('error', () => {}).end(options.input ?? ''); // a program that does not read tells by its exit code
  const end = await new Promise((resolve, reject) => child.once('close', (code, signal) => resolve(signal ?? code)).once('error', reject));
  if (end !== 0)
    throw new Error(
      `${command.join(' ')}: ${typeof end === 'number' ? `exit code ${end}` : String(end)}\n${said.trimEnd().split('\n').slice(-20).join('\n')}`,
    );
  return out;
}
