import { createReadStream } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../clock.ts';
import type { AuditFilter, AuditRow, AuditRows } from '../store/audit-rows.ts';
import type { Facts } from '../store/facts.ts';
import { storeFailure, type Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import { version } from '../version.ts';
import { steward, type Audit, type AuditEntry } from './audit.ts';
import { beginning, canonical, hashOf } from './chain.ts';
import { ChainCheck, type Fault } from './check.ts';
import { readExport, writeExport, type ExportRead, type Exported } from './export.ts';
import { AuditFiles, unwritable, type FilePosition } from './files.ts';
import { HeadKey, type SignedHead } from './head.ts';
import { personOf, recordOf } from './record.ts';

/** Records that are read at once. */
const page = 1000;
const chunk = 1024 * 1024;

export interface AuditParts {
  store: Store;
  rows: AuditRows;
  facts: Facts;
  clock: Clock;
  log: Log;
  /** Folder of the files and of the key. */
  dir: string;
  /** Folder of exports. */
  exports: string;
}

export interface Verified {
  /** How many records were read. */
  records: number;
  /** Number of the record before them: what an earlier verification has seen and signed. */
  after: number;
  /** The newest record, or null when there is none. */
  head: SignedHead | null;
  /** The first record that is not in order, and where: `store` or the name of a file. */
  broken: { where: string; seq: number; fault: Fault } | null;
}

/** The audit in the store and in files: each record holds the hash of the one before. */
export class AuditLog implements Audit {
  readonly #parts: AuditParts;
  #files: AuditFiles | null = null;
  #key: HeadKey | null = null;
  /** Number of the last record that is kept in the store. */
  #committed: number;

  constructor(parts: AuditParts) {
    this.#parts = parts;
    this.#committed = parts.rows.last()?.seq ?? 0;
    this.#follow();
  }

  record(entry: AuditEntry): void {
    const { clock, rows, store } = this.#parts;
    store.transaction(() => {
      // The files may lack one record, never two.
      this.#filesNow().catchUp(this.#committed);
      const last = rows.last();
      const seq = (last?.seq ?? 0) + 1;
      const at = clock.now();
      const prev = last?.hash ?? beginning;
      const record = canonical(recordOf(entry, seq, at, version));
      try {
        rows.add(
          { seq, at, prev, hash: hashOf(prev, record), record },
          { event: entry.event, person: personOf(entry.actor), jobId: entry.jobId ?? null },
        );
      } catch (error) {
        throw unwritable(storeFailure(error, 'write to the audit'));
      }
      store.afterCommit(this.#follow);
    });
  }

  /** Whether a record tells that this stranger spoke. */
  knowsStranger(userId: string): boolean {
    return this.newest({ person: userId, event: 'access.stranger' }, Number.MAX_SAFE_INTEGER, 1).length > 0;
  }

  /** At most `limit` records that fit, newest first, numbered below `before`. */
  newest(filter: AuditFilter, before: number, limit: number): AuditRow[] {
    return this.#parts.rows.newest(filter, before, limit);
  }

  /** The newest record, signed now; null when there is none. */
  head(): SignedHead | null {
    const last = this.#parts.rows.last();
    return last === null ? null : this.#sign(last);
  }

  /**
   * Reads the chain in the store and in the files, from where the last verification ended, or from the beginning. Other
   * work goes on meanwhile; what is recorded meanwhile is left for the next time.
   */
  async verify(fromBeginning: boolean): Promise<Verified> {
    const { facts, rows } = this.#parts;
    const files = this.#filesNow();
    files.catchUp(this.#committed);
    const known = fromBeginning ? null : this.#known(facts.get('audit_verified'));
    const after = known?.head ?? null;
    const last = rows.last();
    const end = files.position;
    const broken = (await this.#checkStore(after, last?.seq ?? 0)) ?? (await this.#checkFiles(files, known, last, end));
    const head = last === null ? null : this.#sign(last);
    if (broken === null && head !== null && end !== null) facts.set('audit_verified', JSON.stringify({ head, position: end }));
    return { records: (last?.seq ?? 0) - (after?.seq ?? 0), after: after?.seq ?? 0, head, broken };
  }

  /** Writes an export of the records from a time on (milliseconds since the epoch; null for all). */
  export(since: number | null): Promise<Exported> {
    const { clock, exports, rows } = this.#parts;
    const head = this.head();
    if (head === null) throw new TypeError('the audit has a record of this very export');
    return writeExport(rows, head, since === null ? 1 : rows.firstSince(since), exports, clock.now().toString(36));
  }

  /** Checks an export that was written, by its bytes and its sum. @returns null when it is not whole */
  readExport(path: string): Promise<ExportRead | null> {
    return readExport(path);
  }

  close(): void {
    this.#files?.close();
    this.#files = null;
  }

  /** After each commit: the files get what the store has. Where they cannot, the next record waits for it. */
  readonly #follow = (): void => {
    const { log, rows } = this.#parts;
    this.#committed = rows.last()?.seq ?? 0;
    try {
      this.#filesNow().catchUp(this.#committed);
    } catch (error) {
      log.error('the files of the audit are behind', { error });
    }
  };

  #filesNow(): AuditFiles {
    if (this.#files !== null) return this.#files;
    const files = new AuditFiles(this.#parts.dir, this.#parts.rows);
    this.#files = files;
    for (const name of files.aside) {
      this.#parts.log.error('the store does not have the last record of a file of the audit; the file was set aside', { file: name });
      this.record({ event: 'audit.forked', actor: steward, detail: { file: name } });
    }
    return files;
  }

  #sign({ seq, hash }: { seq: number; hash: string }): SignedHead {
    this.#key ??= HeadKey.open(this.#parts.dir);
    return this.#key.sign({ seq, hash, at: new Date(this.#parts.clock.now()).toISOString() });
  }

  /** Where an earlier verification ended, when this very key has signed it. */
  #known(fact: string | null): { head: SignedHead; position: FilePosition } | null {
    if (fact === null) return null;
    const known = JSON.parse(fact) as { head: SignedHead; position: FilePosition };
    this.#key ??= HeadKey.open(this.#parts.dir);
    return this.#key.signed(known.head) ? known : null;
  }

  async #checkStore(after: SignedHead | null, last: number): Promise<Verified['broken']> {
    const { rows } = this.#parts;
    let seq = after?.seq ?? 0;
    let prev = after?.hash ?? beginning;
    const broken = (fault: Fault): Verified['broken'] => ({ where: 'store', seq: seq + 1, fault });
    // The record that was signed must still be there.
    if (after !== null && rows.get(after.seq)?.hash !== after.hash) return { where: 'store', seq: after.seq, fault: 'changed' };
    while (seq < last) {
      const found = rows.after(seq, Math.min(page, last - seq));
      if (found.length === 0) return broken('missing');
      for (const row of found) {
        if (row.seq !== seq + 1) return broken('missing');
        if (row.prev !== prev) return broken('unlinked');
        if (hashOf(prev, row.record) !== row.hash) return broken('changed');
        ({ seq, hash: prev } = row);
      }
      await setImmediate();
    }
    return null;
  }

  async #checkFiles(
    files: AuditFiles,
    known: { head: SignedHead; position: FilePosition } | null,
    last: { seq: number; hash: string } | null,
    end: FilePosition | null,
  ): Promise<Verified['broken']> {
    const check = new ChainCheck(known?.head ?? { seq: 0, hash: beginning });
    for (const name of files.names()) {
      if ((known !== null && name < known.position.file) || end === null || name > end.file) continue;
      const start = name === known?.position.file ? known.position.offset : 0;
      if (name === end.file && start >= end.offset) break;
      const bytes = createReadStream(files.pathOf(name), {
        start,
        ...(name === end.file ? { end: end.offset - 1 } : {}),
        highWaterMark: chunk,
      }) as AsyncIterable<Buffer>;
      for await (const piece of bytes) if (!check.push(piece)) break;
      const { broken } = check.end();
      if (broken !== null) return { where: name, ...broken };
    }
    const { seq, head } = check.end();
    if (seq === (last?.seq ?? 0) && head === (last?.hash ?? beginning)) return null;
    if (last === null || seq > last.seq) return { where: 'store', seq: (last?.seq ?? 0) + 1, fault: 'missing' };
    return { where: end?.file ?? 'the files', seq: seq + 1, fault: seq === last.seq ? 'changed' : 'missing' };
  }
}
