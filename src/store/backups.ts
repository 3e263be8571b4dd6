import type { Store } from './store.ts';

/**
 * `copying`: on its way from another destination, no manifest yet. `removed`: there is no manifest, or none any more; its folder
 * may hold media that other backups are made of.
 */
export type BackupState = 'making' | 'copying' | 'complete' | 'removed';

/** A backup as the catalogue knows it; the destination's manifest is the truth. */
export interface BackupRow {
  id: string;
  destination: string;
  state: BackupState;
  startedAt: number;
  finishedAt: number | null;
  /** When the database was as it is in the dump. */
  databaseAt: number | null;
  /** Of the objects that it added. */
  bytes: number | null;
  /** SHA-256 of the manifest. */
  manifest: string | null;
  /** Levels that are proven, and when; null for none. */
  contentLevel: number | null;
  objectLevel: number | null;
  provenAt: number | null;
  /** Never pruned. */
  pinned: boolean;
  /** Names of those that its objects are sealed to; null where it has no manifest. */
  epochs: readonly string[] | null;
}

export interface EpochRow {
  name: string;
  createdAt: number;
  /** `age1…`: what backups are sealed to. */
  recipient: string;
  /** The private half, sealed to the admins' recipients: an age file. */
  sealed: Buffer;
  /** Whom it is sealed to; none where nobody remembers. */
  recipients: readonly string[];
  /** When an admin's key, or the mounted one, has opened it; null where none has yet. */
  openedAt: number | null;
}

export type MediaProblem = 'missing' | 'wrong';

/** A pack of media that a destination holds. */
export interface PackRow {
  name: string;
  epoch: string;
  source: { bytes: number; sha256: string };
  stored: { bytes: number; sha256: string };
  /** The list of its files, an object of its own. */
  index: { name: string; source: { bytes: number; sha256: string }; stored: { bytes: number; sha256: string } };
  files: number;
}

/** The catalogue of backups, the epochs' keys and the media that each destination holds. */
export class BackupStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  transaction<T>(work: () => T): T {
    return this.#store.transaction(work);
  }

  begin(id: string, destination: string, startedAt: number): void {
    this.#run("INSERT INTO backups (id, destination, state, started_at) VALUES (?, ?, 'making', ?)", id, destination, startedAt);
  }

  /** Its folder may hold media of other backups already, or what an earlier try has copied. */
  beginCopy(id: string, destination: string, startedAt: number): void {
    this.#run(
      `INSERT INTO backups (id, destination, state, started_at) VALUES (?, ?, 'copying', ?)
        ON CONFLICT (id, destination) DO UPDATE SET state = 'copying', started_at = excluded.started_at`,
      id,
      destination,
      startedAt,
    );
  }

  /** A folder that gets media which backups of other ids are made of: there is no backup in it. */
  addFolder(id: string, destination: string, at: number): void {
    this.#run("INSERT OR IGNORE INTO backups (id, destination, state, started_at) VALUES (?, ?, 'removed', ?)", id, destination, at);
  }

  complete(
    row: Pick<BackupRow, 'id' | 'destination'> & {
      finishedAt: number;
      databaseAt: number;
      bytes: number;
      manifest: string;
      epochs: readonly string[];
    },
  ): void {
    this.#run(
      "UPDATE backups SET state = 'complete', finished_at = ?, database_at = ?, bytes = ?, manifest = ?, epochs = ? WHERE id = ? AND destination = ?",
      row.finishedAt,
      row.databaseAt,
      row.bytes,
      row.manifest,
      JSON.stringify(row.epochs),
      row.id,
      row.destination,
    );
  }

  setState(id: string, destination: string, state: BackupState): void {
    this.#run('UPDATE backups SET state = ? WHERE id = ? AND destination = ?', state, id, destination);
  }

  pin(id: string, destination: string, pinned: boolean): void {
    this.#run('UPDATE backups SET pinned = ? WHERE id = ? AND destination = ?', pinned ? 1 : 0, id, destination);
  }

  /** Takes back what a backup that was not finished has written here: the media that it alone had are looked for by the next, however old they are. */
  forget(id: string, destination: string): void {
    this.transaction(() => {
      // Where it is not known up to when all are held, all are looked at.
      this.#run(
        `INSERT OR REPLACE INTO media_faults SELECT destination, media_id, 'missing' FROM media_files
          WHERE pack IN (SELECT id FROM media_packs WHERE destination = ? AND backup = ?) AND destination IN (SELECT destination FROM media_until)`,
        destination,
        id,
      );
      this.#run('DELETE FROM media_files WHERE pack IN (SELECT id FROM media_packs WHERE destination = ? AND backup = ?)', destination, id);
      this.#run('DELETE FROM media_packs WHERE destination = ? AND backup = ?', destination, id);
      this.#run('DELETE FROM backups WHERE id = ? AND destination = ?', id, destination);
    });
  }

  setContent(id: string, destination: string, level: number, at: number): void {
    this.#run('UPDATE backups SET content_level = ?, proven_at = ? WHERE id = ? AND destination = ?', level, at, id, destination);
  }

  /** Null takes a proof back. */
  setObject(id: string, destination: string, level: number | null, at: number): void {
    this.#run('UPDATE backups SET object_level = ?, proven_at = ? WHERE id = ? AND destination = ?', level, at, id, destination);
  }

  get(id: string, destination: string): BackupRow | null {
    const row = this.#store.database.prepare('SELECT * FROM backups WHERE id = ? AND destination = ?').get(id, destination);
    return row === undefined ? null : backupOf(row);
  }

  /** Whether any destination has, or had, something of this id. */
  isTaken(id: string): boolean {
    return this.#store.database.prepare('SELECT 1 FROM backups WHERE id = ?').get(id) !== undefined;
  }

  /** Newest first. */
  list(state: BackupState): BackupRow[] {
    return this.#store.database.prepare('SELECT * FROM backups WHERE state = ? ORDER BY id DESC, destination').all(state).map(backupOf);
  }

  addEpoch(epoch: EpochRow): void {
    this.#run(
      'INSERT INTO backup_epochs (name, created_at, recipient, sealed, recipients, opened_at) VALUES (?, ?, ?, ?, ?, ?)',
      epoch.name,
      epoch.createdAt,
      epoch.recipient,
      epoch.sealed,
      JSON.stringify(epoch.recipients),
      epoch.openedAt,
    );
  }

  /** @param recipient of the epoch: its public half */
  epochOpened(recipient: string, at: number): void {
    this.#run('UPDATE backup_epochs SET opened_at = coalesce(opened_at, ?) WHERE recipient = ?', at, recipient);
  }

  /** The same private half, sealed to others. */
  resealEpoch({ name, sealed, recipients }: Pick<EpochRow, 'name' | 'sealed' | 'recipients'>): void {
    this.#run('UPDATE backup_epochs SET sealed = ?, recipients = ? WHERE name = ?', sealed, JSON.stringify(recipients), name);
  }

  epochs(): EpochRow[] {
    return this.#store.database
      .prepare('SELECT * FROM backup_epochs ORDER BY created_at, name')
      .all()
      .map((row) => ({
        name: String(row['name']),
        createdAt: Number(row['created_at']),
        recipient: String(row['recipient']),
        sealed: Buffer.from(row['sealed'] as Uint8Array),
        recipients: JSON.parse(String(row['recipients'])) as string[],
        openedAt: row['opened_at'] === null ? null : Number(row['opened_at']),
      }));
  }

  addPack(destination: string, backup: string, pack: PackRow, mediaIds: Iterable<string>): void {
    this.transaction(() => {
      const { lastInsertRowid } = this.#store.database
        .prepare('INSERT INTO media_packs (destination, name, backup, pack) VALUES (?, ?, ?, ?)')
        .run(destination, pack.name, backup, JSON.stringify(pack));
      const insert = this.#store.database.prepare('INSERT OR REPLACE INTO media_files (destination, media_id, pack) VALUES (?, ?, ?)');
      for (const id of mediaIds) insert.run(destination, id, lastInsertRowid);
    });
  }

  /** What one destination knows of a pack is true of its copy in another. @returns whether that one had lacked any of its media */
  copyPack(name: string, from: readonly string[], to: string): boolean {
    const find = this.#store.database.prepare('SELECT id, backup, pack FROM media_packs WHERE destination = ? AND name = ?');
    return this.transaction(() => {
      for (const destination of from) {
        const known = find.get(destination, name);
        if (known === undefined) continue;
        const id = Number(known['id']);
        const lacked = this.#store.database
          .prepare(
            `SELECT 1 FROM media_files m WHERE m.pack = ?
              AND NOT EXISTS (SELECT 1 FROM media_files WHERE destination = ? AND media_id = m.media_id) LIMIT 1`,
          )
          .get(id, to);
        if (lacked === undefined) return false;
        this.#run(
          `INSERT OR IGNORE INTO media_faults SELECT ?, f.media_id, f.problem FROM media_faults f JOIN media_files m
            ON m.destination = f.destination AND m.media_id = f.media_id WHERE m.pack = ?`,
          to,
          id,
        );
        this.#run(
          'INSERT OR IGNORE INTO media_packs (destination, name, backup, pack) VALUES (?, ?, ?, ?)',
          to,
          name,
          String(known['backup']),
          String(known['pack']),
        );
        this.#run(
          `INSERT OR IGNORE INTO media_files (destination, media_id, pack)
            SELECT p.destination, m.media_id, p.id FROM media_files m, media_packs p WHERE m.pack = ? AND p.destination = ? AND p.name = ?`,
          id,
          to,
          name,
        );
        return true;
      }
      return false;
    });
  }

  packs(destination: string): PackRow[] {
    return this.#store.database
      .prepare('SELECT pack FROM media_packs WHERE destination = ? ORDER BY name')
      .all(destination)
      .map((row) => JSON.parse(String(row['pack'])) as PackRow);
  }

  /** A pack that the destination has no more, or not as it was stored: its media are new again, however old they are. */
  losePack(destination: string, name: string): void {
    this.transaction(() => {
      this.dropPack(destination, name);
      this.setMediaUntil(destination, null);
    });
  }

  /** A pack whose media the homeserver has no more. */
  dropPack(destination: string, name: string): void {
    this.transaction(() => {
      this.#run('DELETE FROM media_files WHERE pack = (SELECT id FROM media_packs WHERE destination = ? AND name = ?)', destination, name);
      this.#run('DELETE FROM media_packs WHERE destination = ? AND name = ?', destination, name);
    });
  }

  hasMedia(destination: string, mediaId: string): boolean {
    return (
      this.#store.database.prepare('SELECT 1 FROM media_files WHERE destination = ? AND media_id = ?').get(destination, mediaId) !==
      undefined
    );
  }

  /** Ids of media in a pack, in their order, after one. */
  mediaOf(destination: string, pack: string, after: string, limit: number): string[] {
    return this.#store.database
      .prepare(
        `SELECT media_id FROM media_files WHERE pack = (SELECT id FROM media_packs WHERE destination = ? AND name = ?)
          AND destination = ? AND media_id > ? ORDER BY media_id LIMIT ?`,
      )
      .all(destination, pack, destination, after, limit)
      .map((row) => String(row['media_id']));
  }

  /** What is wrong with media, as the last look at each has shown; null where nothing is any more. */
  setFaults(destination: string, faults: Iterable<readonly [mediaId: string, problem: MediaProblem | null]>): void {
    this.transaction(() => {
      for (const [id, problem] of faults)
        if (problem === null) this.#run('DELETE FROM media_faults WHERE destination = ? AND media_id = ?', destination, id);
        else this.#run('INSERT OR REPLACE INTO media_faults (destination, media_id, problem) VALUES (?, ?, ?)', destination, id, problem);
    });
  }

  /** In the order of their ids, after one. */
  faults(destination: string, after: string, limit: number): { id: string; problem: MediaProblem }[] {
    return this.#store.database
      .prepare('SELECT media_id, problem FROM media_faults WHERE destination = ? AND media_id > ? ORDER BY media_id LIMIT ?')
      .all(destination, after, limit)
      .map((row) => ({ id: String(row['media_id']), problem: row['problem'] as MediaProblem }));
  }

  isMissing(destination: string, mediaId: string): boolean {
    const sql = "SELECT 1 FROM media_faults WHERE destination = ? AND media_id = ? AND problem = 'missing'";
    return this.#store.database.prepare(sql).get(destination, mediaId) !== undefined;
  }

  countFaults(destination: string, problem: MediaProblem): number {
    const row = this.#store.database
      .prepare('SELECT count(*) AS n FROM media_faults WHERE destination = ? AND problem = ?')
      .get(destination, problem);
    return Number(row?.['n']);
  }

  /** When all media of a destination were looked at last, milliseconds since the epoch, or null. */
  mediaChecked(destination: string): number | null {
    const row = this.#store.database.prepare('SELECT at FROM media_checks WHERE destination = ?').get(destination);
    return row === undefined ? null : Number(row['at']);
  }

  setMediaChecked(destination: string, at: number): void {
    this.#run('INSERT OR REPLACE INTO media_checks (destination, at) VALUES (?, ?)', destination, at);
  }

  /** Milliseconds since the epoch up to which all media of a destination are known, or null. */
  mediaUntil(destination: string): number | null {
    const row = this.#store.database.prepare('SELECT until FROM media_until WHERE destination = ?').get(destination);
    return row === undefined ? null : Number(row['until']);
  }

  setMediaUntil(destination: string, until: number | null): void {
    if (until === null) this.#run('DELETE FROM media_until WHERE destination = ?', destination);
    else this.#run('INSERT OR REPLACE INTO media_until (destination, until) VALUES (?, ?)', destination, until);
  }

  #run(sql: string, ...values: (string | number | null | Buffer)[]): void {
    this.#store.database.prepare(sql).run(...values);
  }
}

function backupOf(row: Record<string, unknown>): BackupRow {
  const number = (name: string): number | null => (row[name] === null ? null : Number(row[name]));
  return {
    id: String(row['id']),
    destination: String(row['destination']),
    state: row['state'] as BackupState,
    startedAt: Number(row['started_at']),
    finishedAt: number('finished_at'),
    databaseAt: number('database_at'),
    bytes: number('bytes'),
    manifest: typeof row['manifest'] === 'string' ? row['manifest'] : null,
    contentLevel: number('content_level'),
    objectLevel: number('object_level'),
    provenAt: number('proven_at'),
    pinned: row['pinned'] === 1,
    epochs: typeof row['epochs'] === 'string' ? (JSON.parse(row['epochs']) as string[]) : null,
  };
}
