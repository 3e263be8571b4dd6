import type { Registry } from '../../commands/registry.ts';
import { shells } from '../own-commands.ts';
import { bashCompletion } from './bash.ts';
import { fishCompletion } from './fish.ts';
import { completionTree, type Place } from './tree.ts';
import { zshCompletion } from './zsh.ts';

export type Shell = (typeof shells)[number];

const scripts: Record<Shell, (places: readonly Place[]) => string> = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };

export function isShell(name: string | undefined): name is Shell {
  return name !== undefined && (shells as readonly string[]).includes(name);
}

/** The script that makes a shell complete `steward`: words, options and choices of every command. */
export function completionFor(shell: Shell, registry: Registry): string {
  return scripts[shell](completionTree(registry));
}
