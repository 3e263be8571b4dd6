import { generateIdentity, identityToRecipient } from 'age-encryption';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { freePort, run } from '../kit/process.ts';
import type { SynapseControl } from '../kit/synapse-control.ts';
import type { Synapse } from '../kit/synapse.ts';
import type { Accounts } from './people.ts';

/** What the demo needs to know of Steward's configuration. */
export interface Installed {
  botId: string;
  roomId: string;
  /** Address of the health checks. */
  healthUrl: string;
}

export interface InstallOptions {
  /** The program `steward`. */
  program: string;
  configPath: string;
  synapse: Synapse;
  accounts: Accounts;
  /** A room without encryption. */
  plain: boolean;
  /** How Steward stops and starts Synapse. */
  control: SynapseControl;
  /** Its role in PostgreSQL, with the password beside the configuration; null where the data are in SQLite. */
  databaseUser: string | null;
  /** Folder of the places for backups. */
  backupsDir: string;
}

/** File of the password of Steward's role in PostgreSQL. */
export const databasePasswordPath = (configPath: string): string => join(dirname(configPath), 'database-password');

/** Runs `steward init` as an operator would, for two owners. The file that it goes on from has what it never asks for. */
export async function install({
  program,
  configPath,
  synapse,
  accounts,
  plain,
  control,
  databaseUser,
  backupsDir,
}: InstallOptions): Promise<void> {
  const owners = ['alice', 'bob'].map((name) => [name, { user_ids: [accounts[name]?.userId], roles: ['owner'] }]);
  await mkdir(dirname(configPath), { recursive: true, mode: 0o700 });
  const given = {
    http: { listen: `127.0.0.1:${await freePort()}` },
    people: Object.fromEntries(owners),
    stack: {
      homeserver_config: [synapse.configPath],
      components: { synapse: control },
      ...(databaseUser === null ? {} : { database: { user: databaseUser, password_file: basename(databasePasswordPath(configPath)) } }),
    },
    backup: {
      destinations: { disk: { directory: join(backupsDir, 'disk') }, other: { directory: join(backupsDir, 'other') } },
      keys: { recipients: [await newKey(join(backupsDir, 'admin.key'))], identity_file: 'backup-identity' },
    },
  };
  await newKey(join(dirname(configPath), 'backup-identity'));
  await writeFile(configPath, stringify(given), { mode: 0o600 });
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

/** A new key of age, in a file. @returns its recipient */
async function newKey(path: string): Promise<string> {
  const identity = await generateIdentity();
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, `${identity}\n`, { mode: 0o600 });
  return identityToRecipient(identity);
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
