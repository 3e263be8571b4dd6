import type { Backups } from '../backup/backups.ts';
import type { Engine } from '../backup/engines/engine.ts';
import type { Config } from '../config/schema.ts';
import type { Stack } from '../stack/stack.ts';
import { sizeText } from '../reply/size.ts';
import { showDuration } from '../reply/time.ts';
import { fail, ok, skipped, warn, type Finding } from './line.ts';

export interface EngineLook {
  /** Null where none is configured. */
  engine: Engine | null;
  /** Milliseconds after which its newest backup is too old. */
  fresh: number;
  /** Bytes from which on a database wants one. */
  from: number;
  /** Bytes of the homeserver's database on PostgreSQL; null where that cannot be told. */
  databaseBytes: () => Promise<number | null>;
}

/** @param stack asked only where one is configured */
export function engineLook(config: Config, backups: () => Backups, stack: () => Stack): EngineLook | undefined {
  if (config.backup === undefined) return undefined;
  return {
    engine: backups().engine,
    fresh: config.backup.database?.fresh ?? 0,
    from: config.backup.engineFromGb * 1e9,
    databaseBytes: async () => {
      if (config.stack === undefined) return null;
      const { major, bytes } = await stack().databaseFacts();
      return major === null ? null : bytes;
    },
  };
}

/**
 * Whether the engine that guards the database has a young backup without a fault; where there is none, whether the database has grown
 * so large that it wants one.
 *
 * @param look undefined where no place for backups is configured
 * @param now milliseconds since the epoch
 */
export async function lookAtEngine(look: EngineLook | undefined, now: number): Promise<Finding> {
  if (look === undefined) return skipped('no place for backups is configured');
  const { engine, fresh, from, databaseBytes } = look;
  if (engine === null) {
    const bytes = await databaseBytes();
    if (bytes === null) return skipped('no `backup.database` is set');
    return bytes < from
      ? ok(`none is needed: the database has ${sizeText(bytes)}`)
      : warn(
          `the database has ${sizeText(bytes)}: a dump of that keeps PostgreSQL from clearing up for hours, and cannot be restored to a point in time`,
          'pgBackRest, Barman or CloudNativePG does it better; then `backup.database` names it.',
        );
  }
  const fix = `\`!backup create\` makes one; is its archive of WAL in order? \`${engine.name.toLowerCase()} check\` tells.`;
  const [newest] = await engine.list();
  if (newest === undefined) return fail(`${engine.name} has no backup of ${engine.server}`, fix);
  const detail = `${newest.label}, the newest of ${engine.name} for ${engine.server}, is ${showDuration(Math.max(0, now - newest.at))} old`;
  if (newest.problem !== null) return fail(`${newest.label}, the newest of ${engine.name} for ${engine.server}: ${newest.problem}`, fix);
  return now - newest.at > fresh ? fail(detail, fix) : ok(detail);
}
