import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import type { SynapseControl } from '../kit/synapse-control.ts';
import type { Synapse } from '../kit/synapse.ts';

const client = resolve(import.meta.dirname, 'ask-control.ts');

/** File in the demo's folder that says where the control listens now. */
const portFile = 'control-port';

export interface Control {
  /** Commands for `stack.components`, the same each time that a data folder is used. */
  commands: SynapseControl;
  close(): void;
}

/**
 * Lets Steward stop and start the demo's Synapse, which stays a child of this process: a daemon of its own would outlive a demo
 * that is killed.
 */
export async function serveControl(dir: string, synapse: Synapse): Promise<Control> {
  const verbs: Record<string, () => Promise<string | null>> = {
    status: () => Promise.resolve(synapse.pid === null ? null : String(synapse.pid)),
    stop: () => synapse.stop().then(() => ''),
    start: () => synapse.start().then(() => ''),
    restart: () => synapse.restart().then(() => ''),
  };
  const server = createServer((request, response) => {
    const verb = verbs[(request.url ?? '').slice(1)];
    if (verb === undefined) response.writeHead(404).end();
    else
      verb().then(
        (said) => response.writeHead(said === null ? 409 : 200).end(said ?? ''),
        (error: unknown) => response.writeHead(500).end((error as Error).message),
      );
  });
  server.unref();
  await new Promise((listening) => server.listen(0, '127.0.0.1', () => listening(null)));
  await writeFile(join(dir, portFile), String((server.address() as AddressInfo).port));
  return {
    commands: controlCommands(dir, synapse),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function controlCommands(dir: string, synapse: Synapse): SynapseControl {
  const ask = (verb: string): string[] => [process.execPath, '--disable-warning=ExperimentalWarning', client, join(dir, portFile), verb];
  return {
    status: ask('status'),
    stop: ask('stop'),
    start: ask('start'),
    restart: ask('restart'),
    logs: ['tail', '-n', '1000', synapse.logPath],
  };
}
