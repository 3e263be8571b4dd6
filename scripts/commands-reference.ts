import type { z } from 'zod';
import { allCommands } from '../src/commands/all.ts';
import { groupOf, type Command } from '../src/commands/define.ts';
import { ownOptions, sharedOptions, type Option } from '../src/commands/grammar/options.ts';
import { tierTable } from '../src/workflow/approval.ts';

/** docs/commands.md: every command with its options, examples and result, from its declaration. */
export function renderCommandReference(notice: string): string {
  const { commands } = allCommands();
  const groups = [...new Set(commands.map(groupOf))];
  const alone = groups.filter((group) => commands.some((command) => command.name === group));
  return (
    [
      notice,
      '# Commands',
      'In the room a command begins with `!` (or `!steward `, by the name of `room.name`), in the shell with `steward `. ' +
        'A user is a localpart, an MXID, a pill or a matrix.to link. Quotes hold a value with spaces together; those that phones make are taken too. ' +
        'Options that commands share: `--json` and `--csv` give the result as a file, `--dry-run` shows what a change would do, `--help` explains the command, `--wide` makes tables for a desk.',
      '## Tiers',
      [
        '| tier | mode `two-person` | mode `single` |',
        '|---|---|---|',
        ...tierTable.map(([tier, two, single]) => `| ${tier} | ${two} | ${single} |`),
      ].join('\n'),
      ...alone.flatMap((name) => commands.filter((command) => command.name === name).flatMap((command) => section(command, '##'))),
      ...groups
        .filter((group) => !alone.includes(group))
        .flatMap((group) => [
          `## ${group}`,
          ...commands.filter((command) => groupOf(command) === group).flatMap((command) => section(command, '###')),
        ]),
    ].join('\n\n') + '\n'
  );
}

function section(command: Command, level: string): string[] {
  const own = ownOptions(command);
  const secrets = Object.entries(command.secrets ?? {});
  const facts = [
    `Tier: ${command.tier}.`,
    ...(command.formerly === undefined ? [] : [`Formerly: ${command.formerly.map((name) => `\`${name}\``).join(', ')}.`]),
    ...(command.short === undefined ? [] : [`Short: ${command.short.map((name) => `\`${name}\``).join(', ')}.`]),
    ...(command.kind === 'write' && command.bulk ? ['Takes a code block or a file: one target a line.'] : []),
  ];
  return [
    `${level} ${command.name}`,
    [command.summary, ...(command.details ?? [])].join(' '),
    facts.join(' '),
    ...(own.length === 0
      ? []
      : [
          [
            '| argument | | |',
            '|---|---|---|',
            ...own.map(optionRow),
            ...secrets.map(
              ([name, { alias, description }]) =>
                `| \`-${alias}\`, \`--${name}-file FILE\`, \`--${name}-stdin\` | in the shell only | ${description} |`,
            ),
          ].join('\n'),
        ]),
    ['```', ...command.examples.map((example) => `!${example}`), '```'].join('\n'),
    `Result: ${resultFields(command)}. Also: ${sharedOptions(command)
      .map((option) => `\`--${option.flag}\``)
      .join(', ')}.`,
  ];
}

function optionRow(option: Option): string {
  const flag = `\`--${option.flag}${option.type === 'boolean' ? '' : ` ${option.value}`}\``;
  const names = [
    option.positional === undefined ? [] : [`\`${option.value}\``],
    option.positional === undefined || option.alias !== undefined ? [flag] : [],
    option.alias === undefined ? [] : [`\`-${option.alias}\``],
  ].flat();
  const state = option.required ? 'required' : option.choices === undefined ? '' : `one of ${option.choices.join(', ')}`;
  return `| ${names.join(', ')} | ${state} | ${option.description} |`;
}

function resultFields(command: Command): string {
  return Object.keys((command.result as z.ZodObject).shape)
    .map((field) => `\`${field}\``)
    .join(', ');
}
