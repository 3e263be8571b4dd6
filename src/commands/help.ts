import { z } from 'zod';
import { Failure } from '../failures/failure.ts';
import { failureTable, findFailure } from '../failures/table.ts';
import { fields, heading, list, text, type Inline, type Line, type Part } from '../reply/parts.ts';
import { hintLine } from '../reply/reply.ts';
import type { CommandContext } from './context.ts';
import { defineRead, groupOf, type Command } from './define.ts';
import { ruleOf } from '../workflow/approval.ts';
import { ownOptions, sharedOptions, type Option } from './grammar/options.ts';
import { nearest } from './registry.ts';

export const help = defineRead({
  name: 'help',
  summary: 'List the commands, explain one of them, search them, or explain an error.',
  tier: 'read',
  lock: 'none',
  anyOperator: true,
  args: z.strictObject({
    topic: z
      .array(z.string())
      .default([])
      .describe('A command or group; `search WORD`; `error ID`.')
      .meta({ positional: 0, value: 'TOPIC' }),
  }),
  result: z.object({ topic: z.string(), commands: z.array(z.string()) }),
  examples: ['help', 'help user create', 'help search password', 'help error user.exists'],

  read: (ctx, args) =>
    Promise.resolve({ topic: args.topic.join(' '), commands: commandsOf(ctx, args.topic).map((command) => command.name) }),

  reply: (_result, args, ctx) => {
    const [first, ...rest] = args.topic;
    if (first === 'error') return explainError(rest.join(' '));
    const commands = commandsOf(ctx, args.topic);
    if (first === 'search') return [text({ strong: `Commands about ${rest.join(' ')}` }), list(commands.map(summaryLine))];
    const only = commands.length === 1 && args.topic.length > 0 ? commands[0] : undefined;
    return only === undefined ? overview(ctx, commands) : explainCommand(ctx, only);
  },
});

/** @throws Failure when the topic names nothing */
function commandsOf(ctx: CommandContext, topic: readonly string[]): readonly Command[] {
  const { registry } = ctx;
  const [first, ...rest] = topic;
  if (first === undefined) return registry.commands;
  const attempted = `explain \`${topic.join(' ').slice(0, 60)}\``;
  if (first === 'error') {
    const id = rest.join(' ');
    if (findFailure(id) !== undefined) return [];
    const near = nearest([id], Object.keys(failureTable));
    throw new Failure('usage.invalid-value', {
      attempted,
      reason: 'there is no error of that id',
      hint: near === undefined ? 'docs/errors.md lists them all.' : `Did you mean \`!help error ${near}\`?`,
    });
  }
  if (first === 'search') {
    const words = rest.map((word) => word.toLowerCase());
    const found = registry.commands.filter((command) => words.every((word) => searchText(command).includes(word)));
    if (words.length === 0 || found.length === 0)
      throw new Failure('usage.invalid-value', {
        attempted,
        reason: words.length === 0 ? 'a word to search for is missing' : 'no command speaks of it',
        hint: '`help` lists them all.',
      });
    return found;
  }
  const match = registry.match(topic);
  if (match !== undefined) return [match.command];
  const group = registry.inGroup(first.toLowerCase());
  if (group.length > 0) return group;
  const near = registry.suggest(topic);
  throw new Failure('usage.unknown-command', { attempted, ...(near === undefined ? {} : { hint: `Did you mean \`!help ${near}\`?` }) });
}

function searchText(command: Command): string {
  return [
    command.name,
    command.summary,
    ...(command.details ?? []),
    ...(command.formerly ?? []),
    ...(command.short ?? []),
    ...ownOptions(command).flatMap((option) => [option.flag, option.description]),
  ]
    .join(' ')
    .toLowerCase();
}

function overview(ctx: CommandContext, commands: readonly Command[]): Part[] {
  const groups = [...new Set(commands.map(groupOf))];
  const alone = commands.filter((command) => !command.name.includes(' '));
  const grouped = groups.filter((group) => commands.some((command) => command.name.startsWith(`${group} `)));
  return [
    ...(alone.length === 0 ? [] : [list(alone.map(summaryLine))]),
    ...grouped.flatMap((group) => [
      heading(group),
      list(commands.filter((command) => command.name.startsWith(`${group} `)).map(summaryLine)),
    ]),
    ...(commands.length === ctx.registry.commands.length
      ? [text('More on one: ', { command: 'help user create' }, '. Words: ', { command: 'help search password' }, '.')]
      : []),
  ];
}

function summaryLine(command: Command): Line {
  return [{ command: command.name }, ` — ${command.summary}`];
}

function explainCommand(ctx: CommandContext, command: Command): Part[] {
  const own = ownOptions(command);
  const positionals = own.filter((option) => option.positional !== undefined).sort((a, b) => (a.positional ?? 0) - (b.positional ?? 0));
  const usage = [command.name, ...positionals.map(positionalUsage), ...(own.length > positionals.length ? ['[options]'] : [])].join(' ');
  const secrets = Object.entries(command.secrets ?? {});
  return [
    text({ strong: command.name }, ` — ${command.summary}`),
    ...(command.details ?? []).map((paragraph) => text(paragraph)),
    fields(
      ['usage', [{ command: usage }]],
      ['tier', [`${command.tier}: ${ruleOf(ctx.config.approval.mode, command.tier).words}`]],
      ['short', command.short === undefined ? undefined : [command.short.join(', ')]],
      ['formerly', command.formerly === undefined ? undefined : [command.formerly.join(', ')]],
      [
        'many at once',
        command.kind === 'write' && command.bulk ? ['a code block or file under the command, one target a line'] : undefined,
      ],
    ),
    list([...own.map(optionLine), ...sharedOptions(command).map(optionLine)]),
    ...(secrets.length === 0
      ? []
      : [
          heading('in the shell only'),
          list(
            secrets.map(([name, { alias, description }]): Line => [
              { code: `-${alias}` },
              ' (asks), ',
              { code: `--${name}-file FILE` },
              ', ',
              { code: `--${name}-stdin` },
              ` — ${description}`,
            ]),
          ),
        ]),
    heading('examples'),
    list(command.examples.map((example): Line => [{ command: example }])),
  ];
}

function positionalUsage(option: Option): string {
  const name = option.type === 'strings' ? `${option.value} …` : option.value;
  return option.required ? name : `[${name}]`;
}

function optionLine(option: Option): Line {
  const flag = `--${option.flag}${option.type === 'boolean' ? '' : ` ${option.value}`}`;
  const label: Inline[] =
    option.positional === undefined
      ? [{ code: flag }]
      : [{ code: option.value }, ...(option.alias === undefined ? [] : [' or ', { code: flag }])];
  return [
    ...label,
    ...(option.alias === undefined ? [] : [', ', { code: `-${option.alias}` }]),
    ` — ${option.description}`,
    ...(option.choices === undefined ? [] : [` One of ${option.choices.join(', ')}.`]),
    ...(option.required ? [' Required.'] : []),
  ];
}

function explainError(id: string): Part[] {
  const record = findFailure(id);
  if (record === undefined) return [];
  return [
    text({ strong: id }, ` — ${record.summary}`),
    fields(
      ['hint', hintLine(record.hint)],
      ['exit code', [String(record.exit)]],
      ['try again', [record.retry ? 'the same command may work later' : 'not before something has changed']],
    ),
  ];
}
