import type { Pattern } from './statement.ts';

/** What `$name` and `${name}` stand for in a line: named groups of earlier answers, and the demo's environment. */
export class Variables {
  readonly #values: Map<string, string>;

  constructor(environment: Readonly<Record<string, string>>) {
    this.#values = new Map(Object.entries(environment));
  }

  learn(groups: Readonly<Record<string, string | undefined>>): void {
    for (const [name, value] of Object.entries(groups)) if (value !== undefined) this.#values.set(name, value);
  }

  /** The text with values put in; names that are not known stay as they are. */
  fill(text: string, as: (value: string) => string = (value) => value): string {
    return text.replaceAll(/\$(?:(\w+)|\{(\w+)\})/gu, (whole, bare: string | undefined, braced: string | undefined) => {
      const value = this.#values.get(bare ?? braced ?? '');
      return value === undefined ? whole : as(value);
    });
  }

  /** The regular expression, in which a value matches itself. */
  compile({ source, flags }: Pattern): RegExp {
    return new RegExp(
      this.fill(source, (value) => value.replaceAll(/[\\^$.*+?()[\]{}|/]/gu, String.raw`\$&`)),
      flags,
    );
  }
}
