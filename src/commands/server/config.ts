import { z } from 'zod';
import { asFailure } from '../../failures/failure.ts';
import { code, fields, list, text, type Line, type Part } from '../../reply/parts.ts';
import { sizeText } from '../../reply/size.ts';
import type { Capability, DatabaseFacts, StackFacts } from '../../stack/stack.ts';
import { defineRead } from '../define.ts';

export const serverConfig = defineRead({
  name: 'server config',
  summary: 'Show where the homeserver runs, what Steward found there, and what it may do, with the line that grants what it may not.',
  tier: 'read',
  lock: 'none',
  args: z.strictObject({}),
  result: z.object({
    kind: z.literal('host'),
    serverName: z.string(),
    configFiles: z.array(z.string()),
    database: z.string(),
    databaseVersion: z.string().nullable(),
    databaseBytes: z.number().nullable(),
    databaseProblem: z.string().nullable(),
    schemaVersion: z.number().nullable(),
    mediaPath: z.string(),
    storageProviders: z.array(z.string()),
    signingKeyPath: z.string(),
    includedFiles: z.array(z.string()),
    secretFiles: z.array(z.string()),
    mas: z.string().nullable().describe('Matrix Authentication Service and its database, where it has the accounts or is backed up.'),
    freeBytes: z.number().nullable(),
    components: z.array(z.object({ name: z.string(), running: z.boolean().nullable(), problem: z.string().nullable() })),
    capabilities: z.array(z.object({ name: z.string(), granted: z.boolean(), missing: z.array(z.string()), grant: z.array(z.string()) })),
  }),
  examples: ['server config'],

  async read({ stack, config }) {
    const facts = await stack.facts();
    const [database, capabilities] = await Promise.all([stack.databaseFacts().catch(asFailure), stack.capabilities()]);
    const known: Partial<DatabaseFacts> = database instanceof Error ? {} : database;
    const status = await stack.components().catch(asFailure);
    const place = facts.database;
    return {
      kind: stack.kind,
      serverName: facts.serverName,
      configFiles: [...facts.configFiles],
      database:
        place.kind === 'sqlite' ? `SQLite, ${place.path}` : `PostgreSQL, ${place.name} on ${place.host}:${place.port} as ${place.user}`,
      databaseVersion: known.version ?? null,
      databaseBytes: known.bytes ?? null,
      databaseProblem: database instanceof Error ? database.message : null,
      schemaVersion: known.schemaVersion ?? null,
      mediaPath: facts.mediaPath,
      storageProviders: [...facts.storageProviders],
      signingKeyPath: facts.signingKeyPath,
      includedFiles: [...facts.includedFiles],
      secretFiles: [...facts.secretFiles],
      mas: masWords(facts),
      freeBytes: facts.freeBytes,
      components:
        status instanceof Error
          ? Object.keys(config.stack?.components ?? {}).map((name) => ({ name, running: null, problem: status.message }))
          : status.map(({ name, running }) => ({ name, running, problem: null })),
      capabilities: capabilities.map(({ name, granted, missing, grant }) => ({ name, granted, missing: [...missing], grant: [...grant] })),
    };
  },

  reply: (result): Part[] => [
    text({ strong: result.serverName }, ' on this machine'),
    fields(
      ['configuration', [{ code: result.configFiles.join(' ') }]],
      ['database', [result.database]],
      [
        'database is',
        [
          result.databaseProblem ??
            `version ${String(result.databaseVersion)}, ${sizeText(result.databaseBytes ?? 0)}, schema ${String(result.schemaVersion)}`,
        ],
      ],
      ['media', [{ code: result.mediaPath }]],
      ['media also in', result.storageProviders.length === 0 ? undefined : [result.storageProviders.join(', ')]],
      ['signing key', [{ code: result.signingKeyPath }]],
      ['accounts', result.mas === null ? undefined : [result.mas]],
      ['free', result.freeBytes === null ? undefined : [sizeText(result.freeBytes)]],
    ),
    ...(result.components.length === 0 ? [] : [list(result.components.map(componentLine))]),
    list(result.capabilities.map(capabilityLine)),
    ...result.capabilities.flatMap(({ grant }) => (grant.length === 0 ? [] : [code(grant.join('\n'))])),
  ],
});

function masWords({ delegated, mas }: StackFacts): string | null {
  if (mas === null) return delegated ? 'Matrix Authentication Service, which Steward is not told where to find' : null;
  const { name, host, port, user } = mas;
  return `${delegated ? '' : "the homeserver's own; backed up too is "}Matrix Authentication Service: PostgreSQL, ${name} on ${host}:${port} as ${user}`;
}

function componentLine({ name, running, problem }: { name: string; running: boolean | null; problem: string | null }): Line {
  return [{ strong: name }, `: ${problem ?? (running === true ? 'runs' : 'does not run')}`];
}

function capabilityLine({ name, granted, missing }: Pick<Capability, 'granted' | 'missing'> & { name: string }): Line {
  const mark = granted ? (missing.length === 0 ? '✅' : '⚠️') : '❌';
  return [`${mark} `, { strong: name }, missing.length === 0 ? '' : `: ${missing.join('; ')}`];
}
