/** A backup of the database that an engine made. */
export interface EngineBackup {
  /** The engine's own name of it. */
  label: string;
  /** When it was done, milliseconds since the epoch. */
  at: number;
  /** Bytes of the database. */
  bytes: number;
  /** What the engine found wrong with it, or null. */
  problem: string | null;
}

/**
 * A program that guards the database: it makes the copies, keeps them and puts them back; Steward triggers and watches it. Failures
 * are `backup.engine-failed`.
 */
export interface Engine {
  /** As it is called: pgBackRest. */
  readonly name: string;
  /** What it calls the database: a stanza, or a server. */
  readonly server: string;
  /** Those that are there, newest first; also those that are not whole, which have a problem. */
  list(signal?: AbortSignal): Promise<EngineBackup[]>;
  /** Makes one, and resolves when the engine has done. Whether it is there is for `list` to say. */
  create(signal: AbortSignal): Promise<void>;
  /** The line that puts one back in the place of the database; typed by a person, with the database stopped. */
  restoreLine(label: string): string;
}
