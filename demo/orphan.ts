import { readFileSync } from 'node:fs';

/**
 * Calls `gone` when a process that this one was started by is gone: npm and the shells between are not told of each other's
 * end, so that a killed `npm run demo` would leave everything running.
 */
export function whenOrphaned(gone: () => void): void {
  const chain = launchers(process.pid);
  const timer = setInterval(() => {
    if (launchers(process.pid).join() !== chain.join()) {
      clearInterval(timer);
      gone();
    }
  }, 500);
  timer.unref();
}

/** The processes from scripts/run.mjs up to npm, as far as it was they who started this one. */
function launchers(pid: number): number[] {
  const chain: number[] = [];
  for (let id = parentOf(pid); id > 1; id = parentOf(id)) {
    const command = commandOf(id);
    if (chain.length === 0 && !command.includes('run.mjs')) return [];
    chain.push(id);
    if (command.startsWith('npm ')) return chain;
  }
  return chain.slice(0, 1);
}

function parentOf(pid: number): number {
  // The second field is the program's name in brackets, and may hold anything.
  return Number(/^\d+ \(.*\) \S (\d+)/su.exec(read(pid, 'stat'))?.[1] ?? 0);
}

function commandOf(pid: number): string {
  return read(pid, 'cmdline').replaceAll('\0', ' ');
}

function read(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}
