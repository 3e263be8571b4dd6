import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Program {
  pid: number;
  /** Seconds from its spawn to the line that says it is ready. */
  startedIn: number;
  /** SIGTERM; resolves when it is gone. */
  stop(): Promise<void>;
}

const startBound = 30_000;

/**
 * Starts a program that cannot outlive this process, and waits for the line that says it is ready.
 * Errors: it ended, or said nothing in time; with what it said.
 */
export async function startProgram(command: readonly string[], ready: RegExp, env: Record<string, string> = {}): Promise<Program> {
  const begin = performance.now();
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...command], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  let said = '';
  const startedIn = await new Promise<number>((resolve, reject) => {
    const fail = (why: string): void => {
      reject(new Error(`${command.join(' ')} ${why}\n${said}`));
    };
    const timer = setTimeout(() => {
      fail('is not ready');
    }, startBound);
    const hear = (text: string): void => {
      said = (said + text).slice(-10_000);
      if (!ready.test(said)) return;
      clearTimeout(timer);
      resolve((performance.now() - begin) / 1000);
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', hear);
    child.once('error', reject).once('close', () => {
      fail('ended');
    });
  });
  return {
    pid: child.pid ?? 0,
    startedIn,
    stop: async () => {
      child.kill();
      await ended;
    },
  };
}

/** Runs a program to its end, its output thrown away. @returns seconds, its start included. Errors: another exit code than 0 */
export async function timed(command: readonly string[]): Promise<number> {
  const [program = '', ...args] = command;
  const begin = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [exit] = (await once(child, 'exit')) as [number | null];
  if (exit !== 0) throw new Error(`${command.join(' ')} ended with ${String(exit)}`);
  return (performance.now() - begin) / 1000;
}
