import { isDeepStrictEqual } from 'node:util';
import { Failure } from '../failures/failure.ts';
import { loadConfig, type LoadedConfig } from './load.ts';
import { formatMistakes } from './mistake.ts';
import type { Config } from './schema.ts';
import { Secret } from './secret.ts';

/** What a running Steward cannot change: where it keeps things, and which room and account it is. */
const fixed = ['dataDir', 'http', 'log', 'secrets'] as const satisfies readonly (keyof Config)[];

export interface ReloadOutcome {
  changed: string[];
  needsRestart: string[];
}

/** The configuration in force, and the way to a newer one. */
export class Reloadable {
  readonly path: string;
  readonly #env: NodeJS.ProcessEnv;
  #current: Config;
  #secretFiles: readonly string[];
  #variables: readonly string[];

  /** @throws Failure `config.invalid` with all mistakes, `config.not-found` */
  constructor(path: string, env: NodeJS.ProcessEnv) {
    this.path = path;
    this.#env = env;
    ({ config: this.#current, secretFiles: this.#secretFiles, variables: this.#variables } = load(path, env));
  }

  get current(): Config {
    return this.#current;
  }

  /** The variables of the environment that are part of it. */
  get environment(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#variables.map((name) => [name, this.#env[name] ?? '']));
  }

  /** Absolute paths of the secret files that are named. */
  get secretFiles(): readonly string[] {
    return this.#secretFiles;
  }

  /**
   * Reads the file again; with mistakes the old one stays in force.
   *
   * @param accept is told what changed before it is in force; throws to leave the old one
   * @returns the keys that changed, and those of them that need a restart
   */
  reload(accept: (outcome: ReloadOutcome) => void): ReloadOutcome {
    const before = this.#current;
    const { config: after, secretFiles, variables } = load(this.path, this.#env);
    const changed = (Object.keys(after) as (keyof Config)[]).filter((key) => !isDeepStrictEqual(plain(before[key]), plain(after[key])));
    const needsRestart: string[] = changed.filter((key) => (fixed as readonly string[]).includes(key));
    const sameRoom = before.room?.id === after.room?.id;
    const sameAccount =
      before.homeserver?.userId === after.homeserver?.userId && before.homeserver?.serverName === after.homeserver?.serverName;
    if (!sameRoom) needsRestart.push('room.id');
    if (!sameAccount) needsRestart.push('homeserver.user_id');
    const outcome = { changed: changed.map(snake), needsRestart: needsRestart.map(snake) };
    accept(outcome);
    this.#secretFiles = secretFiles;
    this.#variables = variables;
    this.#current = {
      ...after,
      ...Object.fromEntries(fixed.map((key) => [key, before[key]])),
      ...(sameRoom ? {} : { room: before.room }),
      ...(sameAccount ? {} : { homeserver: before.homeserver }),
    };
    return outcome;
  }
}

function load(path: string, env: NodeJS.ProcessEnv): Pick<LoadedConfig, 'config' | 'secretFiles'> & { variables: string[] } {
  const loaded = loadConfig(path, env);
  if (loaded.ok) return { ...loaded, variables: loaded.overrides.map(({ variable }) => variable) };
  throw new Failure('config.invalid', { attempted: `read ${path}`, reason: `it has mistakes\n${formatMistakes(loaded.mistakes)}\n` });
}

/** Secrets compare by what they hold. */
function plain(value: unknown): unknown {
  if (value instanceof Secret) return value.reveal();
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, plain(entry)]));
  return value;
}

function snake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
