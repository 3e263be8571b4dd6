import { createHash } from 'node:crypto';
import type { Command } from '../commands/define.ts';
import { ownOptions, type Option } from '../commands/grammar/options.ts';
import type { Registry } from '../commands/registry.ts';

/** State event by which clients learn the commands of a bot: MSC4391, unstable prefix. */
export const descriptionType = 'org.matrix.msc4391.command_description';

/** One state event a command. The key is the padded base64 of SHA-256 over the command and the sender. */
export function descriptionsOf(registry: Registry, userId: string): { stateKey: string; content: Record<string, unknown> }[] {
  return registry.commands.map((command) => ({
    stateKey: createHash('sha256')
      .update(command.name + userId)
      .digest('base64'),
    content: contentOf(command),
  }));
}

function contentOf(command: Command): Record<string, unknown> {
  return {
    command: command.name,
    ...(command.formerly === undefined ? {} : { aliases: command.formerly }),
    description: textOf(command.summary),
    parameters: ownOptions(command).map((option) => ({
      key: option.flag,
      schema: schemaOf(option),
      optional: !option.required,
      description: textOf(option.description),
    })),
  };
}

function schemaOf(option: Option): Record<string, unknown> {
  if (option.choices !== undefined)
    return { schema_type: 'union', variants: option.choices.map((value) => ({ schema_type: 'literal', value })) };
  if (option.type === 'boolean') return { schema_type: 'primitive', type: 'boolean' };
  const primitive = { schema_type: 'primitive', type: 'string' };
  return option.type === 'strings' ? { schema_type: 'array', items: primitive } : primitive;
}

function textOf(body: string): Record<string, unknown> {
  return { 'm.text': [{ body }] };
}
