import { inspect } from 'node:util';
import { z } from 'zod';

/** A value that does not print: every road to text gives `«secret»`; `reveal()` is the one way out. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '«secret»';
  }

  toJSON(): string {
    return '«secret»';
  }

  [inspect.custom](): string {
    return '«secret»';
  }
}

/** A path in the configuration, relative to the configuration file; the loader reads it and puts the content here. */
export const secretFile = z.custom<Secret>((value) => value instanceof Secret, 'the path of a readable file').meta({ secretFile: true });
