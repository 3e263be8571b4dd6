import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parse, stringify } from 'yaml';
import { freePort, run } from '../kit/process.ts';
import type { Synapse } from '../kit/synapse.ts';
import type { Accounts } from './people.ts';

/** What the demo needs to know of Steward's configuration. */
export interface Installed {
  botId: string;
  roomId: string;
  /** Address of the health checks. */
  healthUrl: string;
}

/** Runs `steward init` as an operator would, for two owners. The file that it goes on from has what it never asks for. */
export async function install(program: string, configPath: string, synapse: Synapse, accounts: Accounts, plain: boolean): Promise<void> {
  const owners = ['alice', 'bob'].map((name) => [name, { user_ids: [accounts[name]?.userId], roles: ['owner'] }]);
  await mkdir(dirname(configPath), { recursive: true, mode: 0o700 });
  await writeFile(configPath, stringify({ http: { listen: `127.0.0.1:${await freePort()}` }, people: Object.fromEntries(owners) }), {
    mode: 0o600,
  });
  await run([
    program,
    'init',
    '--dir',
    dirname(configPath),
    '--homeserver',
    synapse.url,
    '--registration-secret-file',
    synapse.registrationSharedSecretPath,
    '--mode',
    'two-person',
    ...(plain ? ['--plain'] : []),
    '--yes',
  ]);
}

/** Errors: the file is not what `install` left. */
export async function readInstalled(configPath: string): Promise<Installed> {
  const { homeserver, room, http } = parse(await readFile(configPath, 'utf8')) as {
    homeserver: { user_id: string };
    room: { id: string };
    http: { listen: string };
  };
  return { botId: homeserver.user_id, roomId: room.id, healthUrl: `http://${http.listen}` };
}
