import { distance } from 'fastest-levenshtein';
import { groupOf, type Command } from './define.ts';

/** All commands, found by name, former name or short name. */
export class Registry {
  readonly commands: readonly Command[];
  readonly #byName = new Map<string, Command>();
  readonly #longest: number;

  /** @throws TypeError when two commands claim one name */
  constructor(commands: readonly Command[]) {
    this.commands = commands;
    for (const command of commands) {
      for (const name of [command.name, ...(command.formerly ?? []), ...(command.short ?? [])]) {
        if (this.#byName.has(name)) throw new TypeError(`two commands are named ${name}`);
        this.#byName.set(name, command);
      }
    }
    this.#longest = Math.max(1, ...[...this.#byName.keys()].map((name) => name.split(' ').length));
  }

  /** The command of this full name, or a former one. Upper case is what phones make of a first word. */
  find(name: string): Command | undefined {
    return this.#byName.get(name.toLowerCase());
  }

  /** The command whose name is the longest start of `words`, and how many words that is. */
  match(words: readonly string[]): { command: Command; words: number } | undefined {
    for (let count = Math.min(this.#longest, words.length); count > 0; count -= 1) {
      const command = this.find(words.slice(0, count).join(' '));
      if (command !== undefined) return { command, words: count };
    }
    return undefined;
  }

  get groups(): readonly string[] {
    return [...new Set(this.commands.map((command) => groupOf(command)))];
  }

  inGroup(group: string): readonly Command[] {
    return this.commands.filter((command) => groupOf(command) === group);
  }

  /** The name nearest to what was typed, or undefined when none is near. */
  suggest(words: readonly string[]): string | undefined {
    const names = [...this.#byName.keys()];
    const lengths = new Set(names.map((name) => name.split(' ').length));
    const typed = [...lengths].map((length) => words.slice(0, length).join(' ').toLowerCase());
    return nearest(typed, [...names, ...this.groups]);
  }
}

/** The candidate with the fewest edits from any of the typed words, when it is near: two swapped letters are two edits. */
export function nearest(typed: readonly string[], candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    for (const word of typed) {
      if (word.length > 64) continue;
      const edits = distance(word, candidate);
      if (edits < fewest && edits <= Math.max(candidate.length < 4 ? 1 : 2, Math.floor(candidate.length / 3))) {
        best = candidate;
        fewest = edits;
      }
    }
  }
  return best;
}
