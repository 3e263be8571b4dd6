import { z } from 'zod';
import { parseConfigDocument } from '../config/document.ts';
import { loadConfig, type InvalidConfig, type LoadedConfig } from '../config/load.ts';
import { renderValues } from '../config/sample.ts';
import { Failure } from '../failures/failure.ts';
import { readText } from './files.ts';

const knownShape = z.object({
  data_dir: z.string().optional(),
  homeserver: z
    .object({ url: z.string(), admin_url: z.string(), user_id: z.string(), device_id: z.string(), access_token_file: z.string() })
    .partial()
    .default({}),
  room: z.object({ id: z.string() }).optional(),
  people: z.record(z.string(), z.object({ user_ids: z.array(z.string()) })).optional(),
});

/** A configuration file that is there: what init goes on from, and never changes. */
export interface ExistingConfig {
  text: string;
  tree: Record<string, unknown>;
  loaded: LoadedConfig | InvalidConfig;
  known: z.output<typeof knownShape>;
}

/** What init found out or was told. Files are relative to the configuration's folder. */
export interface Settings {
  url: string;
  adminUrl: string | undefined;
  serverName: string;
  userId: string;
  deviceId: string | null;
  tokenFile: string;
  webhookFile: string | undefined;
  dataDir: string;
  roomId: string;
  people: ReadonlyMap<string, readonly string[]>;
  mode: 'two-person' | 'single';
}

/** The file that is there, or null. */
export async function readExisting(path: string, env: NodeJS.ProcessEnv): Promise<ExistingConfig | null> {
  const text = await readText(path);
  if (text === null) return null;
  const { tree } = parseConfigDocument(text, path);
  return { text, tree, loaded: loadConfig(path, env), known: knownShape.safeParse(tree).data ?? { homeserver: {} } };
}

/** Whether all that is wrong is a token file that is missing or empty: a new token mends that. */
export function lacksTokenOnly({ loaded }: ExistingConfig): boolean {
  return !loaded.ok && loaded.mistakes.every(({ key, hint }) => key === 'homeserver.access_token_file' && hint === undefined);
}

/** The text of the file. What is there stays as it is, and what is missing comes below; throws `config.invalid` where that cannot be. */
export function renderSettings(settings: Settings, existing: ExistingConfig | null, path: string): string {
  const values = valuesOf(settings);
  if (existing === null)
    return `# The configuration of Steward, written by \`steward init\`. \`steward config sample\` shows every key,\n# \`steward config check\` lists the mistakes.\n\n${renderValues(values)}`;
  const missing = Object.fromEntries(Object.entries(values).filter(([key]) => !(key in existing.tree)));
  if (Object.keys(missing).length === 0) return existing.text;
  const text = `${existing.text.trimEnd()}\n\n${renderValues(missing)}`;
  const { mistakes } = parseConfigDocument(text, path);
  if (mistakes.length > 0)
    throw new Failure('config.invalid', {
      attempted: `add to ${path}`,
      reason: 'its keys do not stand one a line',
      hint: 'Move the file away, run `steward init` again, and merge the two.',
    });
  return text;
}

function valuesOf({
  url,
  adminUrl,
  serverName,
  userId,
  deviceId,
  tokenFile,
  webhookFile,
  dataDir,
  roomId,
  people,
  mode,
}: Settings): Record<string, unknown> {
  const everything = { groups: ['*'], tier: 'catastrophic' };
  return {
    data_dir: dataDir,
    homeserver: {
      url,
      ...(adminUrl === undefined ? {} : { admin_url: adminUrl }),
      server_name: serverName,
      user_id: userId,
      ...(deviceId === null ? {} : { device_id: deviceId }),
      access_token_file: tokenFile,
    },
    room: { id: roomId },
    people: Object.fromEntries(
      [...people].map(([name, userIds], index) => [name, { user_ids: userIds, roles: [index === 0 ? 'owner' : 'admin'] }]),
    ),
    roles: {
      owner: { owner: true, request: everything, approve: everything },
      admin: { owner: false, request: everything, approve: everything },
    },
    approval: { mode },
    http: { listen: '127.0.0.1:9480' },
    ...(webhookFile === undefined ? {} : { alerts: { webhook: { url_file: webhookFile } } }),
  };
}
