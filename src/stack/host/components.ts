import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Clock } from '../../clock.ts';
import { Failure } from '../../failures/failure.ts';
import type { ComponentStatus } from '../stack.ts';

const execute = promisify(execFile);

/** A program that asks something gets no answer. */
async function run(
  program: string,
  args: readonly string[],
  options: { timeout: number; maxBuffer?: number; signal?: AbortSignal },
): Promise<{ stdout: string; stderr: string }> {
  const running = execute(program, args, { ...options, encoding: 'utf8' });
  running.child.stdin?.end();
  return running;
}

/** How one component is controlled: a systemd unit, or commands as lists of words. */
export interface ComponentSettings {
  unit?: string | undefined;
  status?: readonly string[] | undefined;
  restart?: readonly string[] | undefined;
  stop?: readonly string[] | undefined;
  start?: readonly string[] | undefined;
  logs?: readonly string[] | undefined;
}

/** Milliseconds after which a status or a log is not waited for. */
const readBound = 15_000;
/** Milliseconds that a restart may take: Synapse may run a migration first. */
const restartBound = 600_000;
/** Milliseconds that a component has to be gone after its stop command has ended. */
const stopBound = 60_000;
const lookEvery = 100;
const logAtMost = 1 << 20;

export async function statusOf(name: string, settings: ComponentSettings): Promise<ComponentStatus> {
  if (settings.unit !== undefined) {
    const shown = await output(name, 'look at', ['systemctl', 'show', '--property=ActiveState,InvocationID', settings.unit], readBound);
    const property = (key: string): string => new RegExp(`^${key}=(.*)$`, 'm').exec(shown)?.[1] ?? '';
    return { name, running: property('ActiveState') === 'active', invocation: property('InvocationID') || null };
  }
  if (settings.status === undefined) throw uncontrolled(name, 'status');
  const [program = '', ...args] = settings.status;
  try {
    // What a status command says, such as a process id, is another after a restart.
    const { stdout } = await run(program, args, { timeout: readBound });
    return { name, running: true, invocation: stdout.trim() || null };
  } catch (error) {
    if (typeof (error as { code?: unknown }).code === 'number') return { name, running: false, invocation: null };
    throw failed(name, 'look at', error);
  }
}

export async function logsOf(name: string, settings: ComponentSettings, lines: number): Promise<string> {
  const command =
    settings.unit === undefined
      ? settings.logs
      : ['journalctl', '--no-pager', '--output=short-iso', `--lines=${lines}`, `--unit=${settings.unit}`];
  if (command === undefined) throw uncontrolled(name, 'logs');
  const said = await output(name, 'read the log of', command, readBound);
  return said.trimEnd().split('\n').slice(-lines).join('\n');
}

export async function restartComponent(name: string, settings: ComponentSettings, signal: AbortSignal): Promise<void> {
  const command = settings.unit === undefined ? settings.restart : ['systemctl', 'restart', settings.unit];
  if (command === undefined) throw uncontrolled(name, 'restart');
  await output(name, 'restart', command, restartBound, signal);
}

/** Whether it can be stopped and started; null, or the key that is missing. */
export function missingControl(settings: ComponentSettings): string | null {
  if (settings.unit !== undefined) return null;
  return (['status', 'stop', 'start'] as const).find((key) => settings[key] === undefined) ?? null;
}

/** Ends when it does not run any more. @throws Failure `stack.command-failed`, `stack.no-control` */
export async function stopComponent(name: string, settings: ComponentSettings, clock: Clock, signal: AbortSignal): Promise<void> {
  // A unit that does not run may be about to start: systemd starts one again that has ended by itself.
  if (settings.unit === undefined && !(await statusOf(name, settings)).running) return;
  const command = settings.unit === undefined ? settings.stop : ['systemctl', 'stop', settings.unit];
  if (command === undefined) throw uncontrolled(name, 'stop');
  try {
    await output(name, 'stop', command, restartBound, signal);
  } catch (error) {
    if (settings.unit === undefined || !(await isUnknown(name, settings.unit))) throw error;
  }
  const end = clock.monotonic() + stopBound;
  while ((await statusOf(name, settings)).running) {
    if (clock.monotonic() > end)
      throw new Failure('stack.command-failed', { attempted: `stop ${name}`, reason: `it still runs after ${stopBound / 1000} s` });
    await clock.sleep(lookEvery, signal);
    signal.throwIfAborted();
  }
}

/** Whether systemd has no such unit: on a bare machine its package may not be there. */
async function isUnknown(name: string, unit: string): Promise<boolean> {
  const shown = await output(name, 'look at', ['systemctl', 'show', '--property=LoadState', unit], readBound).catch(() => '');
  return /^LoadState=not-found$/m.test(shown);
}

export async function startComponent(name: string, settings: ComponentSettings, signal: AbortSignal): Promise<void> {
  if ((await statusOf(name, settings)).running) return;
  const command = settings.unit === undefined ? settings.start : ['systemctl', 'start', settings.unit];
  if (command === undefined) throw uncontrolled(name, 'start');
  await output(name, 'start', command, restartBound, signal);
}

async function output(name: string, verb: string, command: readonly string[], timeout: number, signal?: AbortSignal): Promise<string> {
  const [program = '', ...args] = command;
  try {
    const { stdout, stderr } = await run(program, args, { timeout, maxBuffer: logAtMost, ...(signal === undefined ? {} : { signal }) });
    return stdout === '' ? stderr : stdout;
  } catch (error) {
    throw failed(name, verb, error);
  }
}

function failed(name: string, verb: string, error: unknown): Failure {
  const { code, signal, stderr = '' } = error as { code?: unknown; signal?: unknown; stderr?: string };
  const how =
    typeof code === 'number'
      ? `ended with exit code ${code}`
      : typeof signal === 'string'
        ? `was ended by ${signal}`
        : `cannot be run (${String(code)})`;
  const said = stderr.trim().split('\n').at(-1) ?? '';
  return new Failure('stack.command-failed', {
    attempted: `${verb} ${name}`,
    reason: `its command ${how}${said === '' ? '' : `: ${said.slice(0, 200)}`}`,
    cause: error,
  });
}

function uncontrolled(name: string, key: string): Failure {
  return new Failure('stack.no-control', {
    attempted: `use the component ${name}`,
    reason: `it has neither \`unit\` nor \`${key}\` in \`stack.components.${name}\``,
  });
}

/** The words of a unit's command; none where systemd does not say. */
export async function unitProgram(name: string, unit: string): Promise<string[]> {
  const shown = await output(name, 'look at', ['systemctl', 'show', '--property=ExecStart', unit], readBound).catch(() => '');
  return (/argv\[\]=(.*?) ;/.exec(shown)?.[1] ?? '').split(' ');
}
