import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** The demo in a process of its own, as `npm run demo` starts it. */
export interface RunningDemo {
  readonly process: ChildProcess;
  /** Standard output and standard error, as far as they have come. */
  readonly text: () => string;
  readonly exit: Promise<number | NodeJS.Signals>;
}

const main = resolve(import.meta.dirname, '../../demo/main.ts');

/** `folder` is where relative paths start. Input that is null stays open. */
export function startDemo(args: readonly string[], { folder, input = '' }: { folder: string; input?: string | null }): RunningDemo {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...args], {
    cwd: folder,
    env: { ...process.env, NODE_OPTIONS: '', INIT_CWD: folder, TMPDIR: folder },
    stdio: 'pipe',
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  if (input !== null) child.stdin.end(input);
  const exit = new Promise<number | NodeJS.Signals>((done) =>
    child.once('close', (code, signal) => {
      done(code ?? signal ?? -1);
    }),
  );
  return { process: child, text: () => text, exit };
}

/** Command lines of the processes that have to do with `folder`. */
export function processesOf(folder: string): string[] {
  const ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return ids.map(commandOf).filter((command) => command.includes(folder));
}

function commandOf(id: string): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
