import { z } from 'zod';

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;
type WithoutFile<S extends string> = S extends `${infer Name}_file` ? Name : S;
type CamelKeys<T> = { [K in keyof T as K extends string ? Camel<WithoutFile<K>> : K]: T[K] };

/**
 * A part of the configuration: keys are snake_case in YAML, camelCase in TypeScript; an unknown key is a mistake.
 * A key that names a secret file (`access_token_file`) holds the secret itself in TypeScript (`accessToken`).
 */
export function section<S extends z.ZodRawShape>(shape: S) {
  return z.strictObject(shape).transform((value) => camelKeys(value));
}

function camelKeys<T extends object>(value: T): CamelKeys<T> {
  const entries = Object.entries(value).map(([key, entry]) => [
    key.replace(/_file$/, '').replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    entry as unknown,
  ]);
  return Object.fromEntries(entries) as CamelKeys<T>;
}
