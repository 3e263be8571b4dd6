import type { Store } from './store.ts';

/**
 * `preparing` and `cutting-over` are taken back when Steward starts, `undoing` is finished: each ends with the old server.
 * `live`: the homeserver runs on the restored data, and the old ones are kept; `finishing`: what is kept is being removed, `step`
 * says of which state.
 */
export type RestoreState = 'preparing' | 'prepared' | 'cutting-over' | 'live' | 'undoing' | 'undone' | 'finishing' | 'finished' | 'failed';

export const restoreParts = ['database', 'media', 'keys', 'config', 'secrets'] as const;
export type RestorePart = (typeof restoreParts)[number];

/** What was prepared, counted when it was. */
export interface PreparedReport {
  serverName: string;
  /** When the database was as it will be, milliseconds since the epoch. */
  databaseAt: number;
  tables: number;
  rows: number;
  /** Last position of the event stream in it, for what would be lost; null where the database is not restored. */
  lastEvent: number | null;
  /** Media that are put back, and those that the database names and nobody has. */
  media: number;
  mediaBytes: number;
  mediaMissing: number;
  /** Keys, configuration and secrets that are other ones than those of today. */
  files: readonly string[];
  /** What the person should know, a line each. */
  remarks: readonly string[];
  seconds: number;
}

export interface RestoreRow {
  /** `20261122_021500`: when it was begun, UTC. */
  id: string;
  backup: string;
  destination: string;
  state: RestoreState;
  /** The step of a cutover or undo that was begun last, or null. */
  step: string | null;
  parts: readonly RestorePart[];
  report: PreparedReport | null;
  /** Milliseconds since the epoch. */
  startedAt: number;
  changedAt: number;
  cutOverAt: number | null;
  /** Milliseconds that the homeserver was away in the last cutover or undo. */
  downtime: number | null;
  /** Name of an account on the restored data that a cutover was verified with, until it is erased. */
  probe: string | null;
}

/** The journal of restores: each step is written before it is done. */
export class RestoreStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  begin(row: Pick<RestoreRow, 'id' | 'backup' | 'destination' | 'parts' | 'startedAt'>): void {
    this.#store.transaction(() => {
      this.#run(
        "INSERT INTO restores (id, backup, destination, state, parts, started_at, changed_at) VALUES (?, ?, ?, 'preparing', ?, ?, ?)",
        ...[row.id, row.backup, row.destination, JSON.stringify(row.parts), row.startedAt, row.startedAt],
      );
    });
  }

  /** @param step of the work that begins */
  setState(id: string, state: RestoreState, at: number, step: string | null = null): void {
    this.#store.transaction(() => {
      this.#run('UPDATE restores SET state = ?, step = ?, changed_at = ? WHERE id = ?', state, step, at, id);
    });
  }

  prepared(id: string, report: PreparedReport, at: number): void {
    this.#store.transaction(() => {
      this.#run("UPDATE restores SET state = 'prepared', report = ?, changed_at = ? WHERE id = ?", JSON.stringify(report), at, id);
    });
  }

  /** The homeserver runs again: on the restored data, or on the old ones. */
  swapped(id: string, state: 'live' | 'undone', at: number, downtime: number | null): void {
    this.#store.transaction(() => {
      this.#run(
        'UPDATE restores SET state = ?, step = NULL, changed_at = ?, cut_over_at = coalesce(?, cut_over_at), downtime = ? WHERE id = ?',
        ...[state, at, state === 'live' ? at : null, downtime, id],
      );
    });
  }

  /** Written before the account is made, and null when it is erased. */
  setProbe(id: string, name: string | null): void {
    this.#store.transaction(() => {
      this.#run('UPDATE restores SET probe = ? WHERE id = ?', name, id);
    });
  }

  get(id: string): RestoreRow | null {
    const row = this.#store.database.prepare('SELECT * FROM restores WHERE id = ?').get(id);
    return row === undefined ? null : restoreOf(row);
  }

  /** Newest first. */
  list(): RestoreRow[] {
    return this.#store.database.prepare('SELECT * FROM restores ORDER BY id DESC').all().map(restoreOf);
  }

  #run(sql: string, ...values: (string | number | null)[]): void {
    this.#store.database.prepare(sql).run(...values);
  }
}

function restoreOf(row: Record<string, unknown>): RestoreRow {
  const number = (name: string): number | null => (row[name] === null ? null : Number(row[name]));
  return {
    id: String(row['id']),
    backup: String(row['backup']),
    destination: String(row['destination']),
    state: row['state'] as RestoreState,
    step: typeof row['step'] === 'string' ? row['step'] : null,
    parts: JSON.parse(String(row['parts'])) as RestorePart[],
    report: typeof row['report'] === 'string' ? (JSON.parse(row['report']) as PreparedReport) : null,
    startedAt: Number(row['started_at']),
    changedAt: Number(row['changed_at']),
    cutOverAt: number('cut_over_at'),
    downtime: number('downtime'),
    probe: typeof row['probe'] === 'string' ? row['probe'] : null,
  };
}
