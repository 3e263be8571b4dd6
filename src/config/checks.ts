import type { Config } from './schema.ts';
import { isPlainObject } from './document.ts';
import { nearestOf, type ConfigWarning } from './mistake.ts';

export interface CrossMistake {
  path: readonly PropertyKey[];
  expected: string;
  found: string;
  nearest?: string;
}

/** What keys must agree on. Takes the plain tree, so that these mistakes are told together with those of the schema. */
export function crossCheck(tree: Record<string, unknown>): CrossMistake[] {
  return [...checkServerName(tree), ...checkRoles(tree), ...checkUserIds(tree), ...checkMail(tree), ...checkDestinations(tree)];
}

/** What works, and that the operator should know of. */
export function warningsOf(config: Config): ConfigWarning[] {
  const warnings: ConfigWarning[] = [];
  const people = Object.values(config.people);
  if (config.room !== undefined && !people.some((person) => person.roles.some((role) => config.roles[role]?.owner))) {
    warnings.push({ key: 'people', message: 'nobody has a role with `owner: true`, so nobody can change Steward from the room' });
  }
  if (config.approval.mode === 'single') {
    warnings.push({ key: 'approval.mode', message: 'mode `single`: no second person approves what destroys' });
  } else if (config.room !== undefined && people.length < 2) {
    warnings.push({ key: 'approval.mode', message: 'mode `two-person` with fewer than two persons: nobody can approve' });
  }
  if ([config.alerts.webhook, config.alerts.ntfy, config.alerts.smtp].every((channel) => channel === undefined)) {
    warnings.push({ key: 'alerts', message: 'no alert channel off the homeserver: when the homeserver is down nobody is told' });
  }
  if (config.http.listen === undefined) {
    warnings.push({ key: 'http.listen', message: 'not set: no health checks and no metrics' });
  }
  return warnings;
}

function checkDestinations(tree: Record<string, unknown>): CrossMistake[] {
  const backup = isPlainObject(tree['backup']) ? tree['backup'] : {};
  const destinations = isPlainObject(backup['destinations']) ? backup['destinations'] : {};
  return Object.entries(destinations).flatMap(([name, destination]): CrossMistake[] => {
    if (!isPlainObject(destination)) return [];
    if (name === 'scripts' && backup['scripts_dir'] !== undefined)
      return [{ path: ['backup', 'destinations', name], expected: 'another name: this one stands for `backup.scripts_dir`', found: name }];
    const kinds = ['directory', 's3'].filter((kind) => destination[kind] !== undefined);
    return kinds.length === 1
      ? []
      : [
          {
            path: ['backup', 'destinations', name],
            expected: 'either `directory` or `s3`',
            found: kinds.length === 0 ? 'neither' : 'both',
          },
        ];
  });
}

function checkServerName(tree: Record<string, unknown>): CrossMistake[] {
  const homeserver = isPlainObject(tree['homeserver']) ? tree['homeserver'] : {};
  const { user_id: userId, server_name: serverName } = homeserver;
  if (typeof userId !== 'string' || typeof serverName !== 'string' || !/^@[^:]+:/.test(userId)) return [];
  const found = userId.slice(userId.indexOf(':') + 1);
  return found === serverName
    ? []
    : [{ path: ['homeserver', 'user_id'], expected: `an account of ${serverName} (homeserver.server_name)`, found: `one of ${found}` }];
}

function checkRoles(tree: Record<string, unknown>): CrossMistake[] {
  const known = isPlainObject(tree['roles']) ? Object.keys(tree['roles']) : ['owner'];
  return textsOf(tree, 'roles')
    .filter(({ text }) => !known.includes(text))
    .map(({ path, text }) => {
      const nearest = nearestOf(text, known);
      return {
        path,
        expected: `a role of \`roles:\` (${known.join(', ')})`,
        found: JSON.stringify(text),
        ...(nearest === undefined ? {} : { nearest }),
      };
    });
}

function checkUserIds(tree: Record<string, unknown>): CrossMistake[] {
  const owners = new Map<string, string>();
  return textsOf(tree, 'user_ids').flatMap(({ path, person, text }) => {
    const other = owners.get(text);
    if (other === undefined) owners.set(text, person);
    return other === undefined ? [] : [{ path, expected: 'an account that belongs to one person', found: `${text}, which ${other} has` }];
  });
}

/** An account at the mail server and its password go together. */
function checkMail(tree: Record<string, unknown>): CrossMistake[] {
  const alerts = isPlainObject(tree['alerts']) ? tree['alerts'] : {};
  const smtp = isPlainObject(alerts['smtp']) ? alerts['smtp'] : {};
  if ((smtp['user'] === undefined) === (smtp['password_file'] === undefined)) return [];
  const lacking = smtp['user'] === undefined ? 'user' : 'password_file';
  return [{ path: ['alerts', 'smtp'], expected: '`user` and `password_file` together', found: `no \`${lacking}\`` }];
}

/** The texts of one list of every person. */
function textsOf(
  tree: Record<string, unknown>,
  list: 'roles' | 'user_ids',
): { path: readonly PropertyKey[]; person: string; text: string }[] {
  const people = isPlainObject(tree['people']) ? Object.entries(tree['people']) : [];
  return people.flatMap(([person, value]) => {
    const texts: unknown = isPlainObject(value) ? value[list] : undefined;
    if (!Array.isArray(texts)) return [];
    return texts.flatMap((text: unknown, index) =>
      typeof text === 'string' ? [{ path: ['people', person, list, index], person, text }] : [],
    );
  });
}
