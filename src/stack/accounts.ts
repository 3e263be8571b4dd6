import { readFileSync } from 'node:fs';

/** Names of users or groups, and their numbers, on this machine. */
export interface Accounts {
  /** Empty where it has none. */
  nameOf(id: number): string;
  idOf(name: string): number | undefined;
}

/**
 * As passwd(5) and group(5) have them; those of a directory such as LDAP are not known. On another machine the same name has
 * another number, so an archive holds both.
 */
export function accountsIn(path: '/etc/passwd' | '/etc/group'): Accounts {
  const entries = linesOf(path).map((line) => line.split(':'));
  const names = new Map(entries.map(([name = '', , id]) => [Number(id), name]));
  const ids = new Map(entries.map(([name = '', , id]) => [name, Number(id)]));
  return { nameOf: (id) => names.get(id) ?? '', idOf: (name) => ids.get(name) };
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => /^[^:#+-][^:]*:[^:]*:\d+:/.test(line));
  } catch {
    return [];
  }
}
