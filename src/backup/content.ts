import type { MediaFile, LoadFormat } from '../stack/stack.ts';
import type { RestorePart } from '../store/restores.ts';

/** What is known of a backup before it is opened; null where that cannot be told without reading it. */
export interface ContentSummary {
  id: string;
  serverName: string | null;
  /** Milliseconds since the epoch. */
  databaseAt: number;
  /** Null where there is none in it. */
  database: {
    kind: LoadFormat | 'engine';
    /** Of `engine`. */
    engine?: { name: string; server: string; label: string; restore: string } | undefined;
    encoding: string | null;
    schemaVersion: number | null;
    major: number | null;
    /** That it takes when it is loaded, at the least. */
    bytes: number;
  } | null;
}

/** Some of a backup's media. */
export interface MediaPack {
  name: string;
  /** Reads what is in it, to the end. */
  files(signal: AbortSignal): AsyncIterable<MediaFile>;
  /** The files themselves, named by their paths. */
  tar(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/**
 * What a restore takes from a backup, whoever made it. What is read is whole, and what the backup says it is, only when it ends.
 * Failures are of the families `backup` and `restore`.
 */
export interface BackupContent {
  summary: ContentSummary & { serverName: string };
  /** What it was proven to hold; null where it was not. */
  proven: { tables: number; rows: number } | null;
  /** zstd frames of what `RestorePlace.load` takes. */
  database(signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Tars of the files of a part; none where there are none. */
  files(part: Exclude<RestorePart, 'database' | 'media'>, signal: AbortSignal): AsyncIterable<Uint8Array>[];
  packs: readonly MediaPack[];
  /** What is not in it and the person should know, a line each. */
  remarks(parts: readonly RestorePart[]): string[];
}
