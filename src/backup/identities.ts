import type { Secret } from '../config/secret.ts';

/** Whose keys open backups. */
export interface KeySettings {
  /** The admins' own. */
  recipients: readonly string[];
  /** Opens backups without an admin, where it is given. */
  identity?: Secret | undefined;
}

/** The lines of a file of age that are identities. */
export function identitiesIn(file: Secret): string[] {
  return file
    .reveal()
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.startsWith('AGE-SECRET-KEY-'));
}
