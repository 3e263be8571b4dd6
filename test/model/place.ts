import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ModelDatabase } from './database.ts';

/** Where histories happen, one after the other: a data folder and a database that are as new for each. */
export class ModelPlace {
  readonly dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'steward-model-'));
  readonly database = new ModelDatabase();

  constructor() {
    mkdirSync(join(this.dir, 'exports'));
  }

  /** Forgets all of a history. The space kept back and the key of the audit are the same for each. */
  clear(): void {
    this.database.reset();
    const audit = join(this.dir, 'audit');
    for (const name of readdirSync(audit)) if (name.endsWith('.jsonl')) rmSync(join(audit, name));
  }

  close(): void {
    this.database.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
