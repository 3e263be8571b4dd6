import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelClock } from './clock.ts';
import { ModelDatabase } from './database.ts';
import { ModelHomeserver } from './homeserver.ts';
import type { Server } from './server.ts';

/** Where histories happen, one after the other: a data folder and a database that are as new for each, and rooms. */
export interface Place {
  readonly dir: string;
  readonly database: ModelDatabase;
  /** A new room, with people and a bot of its own in it; time is the clock's. */
  openRoom(clock: ModelClock): Promise<Server>;
  /** Forgets all of a history. */
  clear(): void;
}

/** A place whose homeserver is in memory. */
export class ModelPlace implements Place {
  readonly dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'steward-model-'));
  readonly database = new ModelDatabase();

  constructor() {
    mkdirSync(join(this.dir, 'exports'));
  }

  openRoom(clock: ModelClock): Promise<Server> {
    return Promise.resolve(new ModelHomeserver(clock));
  }

  /** The space kept back and the key of the audit are the same for each. */
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
