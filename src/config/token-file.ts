import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { Secret } from './secret.ts';

/** The file that the access token is read from, by the configuration or the environment; null where neither names one. */
export function tokenFileOf(configPath: string, env: NodeJS.ProcessEnv): string | null {
  const named: unknown =
    env['STEWARD_HOMESERVER__ACCESS_TOKEN_FILE'] ??
    parseDocument(readFileSync(configPath, 'utf8')).getIn(['homeserver', 'access_token_file']);
  return typeof named === 'string' ? resolve(dirname(configPath), named) : null;
}

/** The token that a new one took the place of, which lies beside it; null where there is none. */
export async function previousToken(configPath: string): Promise<Secret | null> {
  const path = tokenFileOf(configPath, process.env);
  const text = path === null ? null : await readFile(`${path}.previous`, 'utf8').catch(() => null);
  return text === null ? null : new Secret(text.trim());
}
