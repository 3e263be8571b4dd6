import stringWidth from 'string-width';
import type { Registry } from '../commands/registry.ts';
import { ownCommands } from './own-commands.ts';

/** What `steward --help` prints: the binary's own commands, then those of the set by group. */
export function usageText(registry: Registry): string {
  const own = ownCommands.map(({ name, usage, summary }) => [`${name} ${usage}`, summary] as const);
  const alone = registry.commands.filter(({ name }) => !name.includes(' '));
  const groups = registry.groups.filter((group) => registry.commands.some(({ name }) => name.startsWith(`${group} `)));
  const rows = (commands: Registry['commands']): (readonly [string, string])[] =>
    commands.map(({ name, summary }) => [name, summary] as const);
  return (
    [
      'usage: steward COMMAND [ARGUMENTS] [--config FILE] [--json]',
      section('this machine', own),
      section('any command', rows(alone)),
      ...groups.map((group) => section(group, rows(registry.inGroup(group).filter(({ name }) => name.includes(' '))))),
      '`steward help COMMAND` explains one. Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 unreachable.',
    ].join('\n\n') + '\n'
  );
}

function section(title: string, rows: readonly (readonly [string, string])[]): string {
  const width = Math.min(34, Math.max(...rows.map(([name]) => stringWidth(name))));
  const lines = rows.map(([name, summary]) =>
    name.length > width ? `  ${name}\n  ${' '.repeat(width)}  ${summary}` : `  ${name.padEnd(width)}  ${summary}`,
  );
  return [`${title}:`, ...lines].join('\n');
}
