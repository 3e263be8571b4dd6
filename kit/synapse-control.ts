import { join } from 'node:path';
import { ensureSynapse } from './synapse.ts';

/** Commands that an operator would give for a Synapse that is no unit of systemd. */
export interface SynapseControl {
  status: string[];
  stop: string[];
  start: string[];
  restart: string[];
  logs: string[];
}

/**
 * How a Synapse in `dir` is controlled from outside, as a daemon with a file of its process id. Its configuration must have
 * `pid_file`, which is `homeserver.pid` in that folder.
 */
export async function synapseControl(dir: string): Promise<SynapseControl> {
  const python = await ensureSynapse();
  const shell = (script: string): string[] => ['sh', '-c', script, join(dir, 'homeserver.pid'), dir, python];
  // One that has ended and was not waited for has no command line any more.
  const status = 'pid=$(cat "$0") && grep -q . "/proc/$pid/cmdline" && echo "$pid"';
  const stop = 'kill "$(cat "$0")"';
  const start = 'cd "$1" && "$2" -m synapse.app.homeserver --config-path homeserver.yaml --daemonize >/dev/null 2>&1 </dev/null';
  const wait = 'while grep -q . "/proc/$(cat "$0")/cmdline"; do sleep 0.1; done 2>/dev/null';
  return {
    status: shell(status),
    stop: shell(stop),
    start: shell(start),
    restart: shell(`${stop}; ${wait}; ${start}`),
    logs: ['tail', '-n', '1000', join(dir, 'homeserver.log')],
  };
}
