import { generateKeyPairSync } from 'node:crypto';
import { parseDocument } from 'yaml';
import { Failure } from '../failures/failure.ts';
import { asPyYaml } from '../stack/synapse-config.ts';
import type { Stack } from '../stack/stack.ts';

/** Keys of homeserver.yaml by which a clone speaks to nobody: no other server, no push, no statistics, no fetched pages. */
const closed: Readonly<Record<string, unknown>> = {
  federation_domain_whitelist: [],
  send_federation: false,
  start_pushers: false,
  push: { enabled: false },
  trusted_key_servers: [],
  app_service_config_files: [],
  url_preview_enabled: false,
  report_stats: false,
};

/** Sections that lead to other machines: mail, single sign-on, storage of media, code of others. */
const left = [
  ...['email', 'account_threepid_delegates', 'oidc_providers', 'oidc_config', 'cas_config', 'saml2_config', 'jwt_config'],
  ...['matrix_authentication_service', 'experimental_features', 'media_storage_providers', 'modules', 'password_providers'],
  ...['spam_checker', 'third_party_event_rules', 'sentry', 'opentracing', 'default_identity_server', 'turn_uris'],
];

/** What a person is told of a clone. */
export const cloneRemark =
  'it is a clone: with a signing key of its own, and closed to other servers, mail, push, application services, single sign-on, modules and outside storage';

/**
 * Whether a clone may go here: never where people have accounts.
 *
 * @param hasDatabase whether there is a database with tables at all
 * @throws Failure `restore.refused`
 */
export async function assertEmpty(stack: Stack, hasDatabase: boolean): Promise<void> {
  if (!hasDatabase) return;
  const view = await stack.openSnapshot();
  try {
    const [row] = await view.rows('SELECT count(*) AS n FROM users');
    const accounts = Number(row?.['n']);
    if (accounts > 0)
      throw new Failure('restore.refused', {
        attempted: 'make a clone here',
        reason: `a clone goes onto an empty new server, and this one has ${accounts} accounts`,
        hint: 'Is it the real one? On another machine, with a Synapse that was just installed and an empty database, it can be made.',
      });
  } finally {
    await view.close();
  }
}

/** Lays aside, for the swap, a fresh signing key and the configuration of now, closed. @returns paths */
export async function stageClone(stack: Stack, id: string): Promise<string[]> {
  const { configFiles, signingKeyPath } = await stack.facts();
  const files: [string, Buffer][] = [[signingKeyPath, Buffer.from(freshSigningKey())]];
  for (const [at, path] of configFiles.entries())
    files.push([path, closedConfig(await stack.readFile(path), path, at === configFiles.length - 1)]);
  for (const [path, content] of files) await stack.restores.stageFile(id, path, content);
  return files.map(([path]) => path);
}

/** As Synapse reads it: algorithm, version, seed. */
function freshSigningKey(): string {
  const { d = '', x = '' } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const version = `a_${Buffer.from(x, 'base64url').toString('hex').slice(0, 6)}`;
  return `ed25519 ${version} ${Buffer.from(d, 'base64url').toString('base64').replace(/=+$/, '')}\n`;
}

/** @param isLast whether it is the file whose keys prevail */
function closedConfig(content: Buffer, path: string, isLast: boolean): Buffer {
  const document = parseDocument(content.toString('utf8'), asPyYaml);
  if (document.errors.length > 0)
    throw new Failure('stack.config-unreadable', { attempted: `close ${path}`, reason: 'it is no YAML that can be changed' });
  for (const key of left) document.delete(key);
  if (isLast) for (const [key, value] of Object.entries(closed)) document.set(key, value);
  return Buffer.from(document.toString({ lineWidth: 0 }));
}
