import type { Clock } from '../clock.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import type { DatabaseFacts, Snapshot, Stack } from '../stack/stack.ts';
import type { RestorePart, RestoreRow, RestoreState, RestoreStore } from '../store/restores.ts';
import type { Log } from '../telemetry/log.ts';
import { idAt, type Backups } from './backups.ts';
import { assertEmpty } from './clone.ts';
import type { ContentSummary } from './content.ts';
import type { Unlocker } from './opener.ts';
import { assertDatabaseRoom, assertFits, prepare } from './prepare.ts';

export interface RestoresOptions {
  store: RestoreStore;
  backups: () => Backups;
  stack: () => Stack;
  clock: Clock;
  log: Log;
  /** Whether the homeserver answers its clients now; null where Steward is not told where. */
  answers: () => Promise<boolean | null>;
  /** Before the homeserver is started on other data: what Steward knows of the time in between is no more. */
  forgetPast: () => void;
  /** The homeserver runs on other data than before: Steward's account, token and room may be gone. @returns what was done, in words */
  reattach: () => Promise<string[]>;
  /** Proves that people can log in and write there; null where Steward is told no address. See `ProbeUser`. */
  probe: () => Probe | null;
  /** Something that a stop has cut off was taken back or finished. */
  recovered: (id: string, state: RestoreState) => void;
  /** What a stop has cut off could be neither. */
  stuck: (id: string, reason: string) => void;
}

/** An account for one verification. */
interface Probe {
  newName(): string;
  /** @returns what was proven, in words @throws Failure where the homeserver cannot do it now */
  prove(name: string): Promise<string>;
  /** May be called again. */
  erase(name: string): Promise<void>;
}

/** What came of a cutover or an undo, in words. */
interface Swapped {
  /** What Steward had to make anew for itself. */
  attached: string[];
  /** What was seen to work after a cutover; empty after an undo. */
  proven: string;
}

/** What those who use the homeserver would lose. */
export interface Loss {
  events: number;
  users: number;
  media: number;
}

/** Milliseconds that the homeserver is given to answer after its start: it may run a migration first. */
const upBound = 120_000;
/** Milliseconds after which one that does not run any more is given up. */
const deadBound = 5000;
const lookEvery = 100;
/** Milliseconds that a homeserver which answers is given until a login and a write work too. */
const probeBound = 20_000;
/** Milliseconds that a server of a database is given to come back, when something is to be taken away there. */
const backBound = 60_000;

/**
 * Restores: prepared beside the live homeserver, put in place by a swap, taken back by the same. Failures are of the
 * families `restore`, `backup` and `stack`. What a stop cuts off ends with the old server or the new one.
 */
export class Restores {
  readonly #options: RestoresOptions;
  #recovering: Promise<void> | null = null;
  #working = 0;

  constructor(options: RestoresOptions) {
    this.#options = options;
  }

  /** Whether one is being prepared, swapped or finished now. */
  get isBusy(): boolean {
    return this.#working > 0;
  }

  list(): RestoreRow[] {
    return this.#options.store.list();
  }

  /** The restore of an id, or the newest for `latest`. @throws Failure `restore.not-found` */
  find(id: string): RestoreRow {
    const found = id === 'latest' ? this.list()[0] : this.#options.store.get(id);
    if (found == null) throw new Failure('restore.not-found', { attempted: `find the restore ${id}` });
    return found;
  }

  /** @throws Failure `restore.state` when it is in another state */
  inState(id: string, attempted: string, states: readonly RestoreState[]): RestoreRow {
    const row = this.find(id);
    if (states.includes(row.state)) return row;
    throw new Failure('restore.state', { attempted: `${attempted} ${row.id}`, reason: `it is ${stateWords[row.state]}` });
  }

  /** The one that is not finished, or null: there is one at a time. */
  open(): RestoreRow | null {
    return this.list().find(({ state }) => state !== 'finished' && state !== 'failed') ?? null;
  }

  /** The id of a restore that begins now. */
  #nextId(): string {
    for (let at = this.#options.clock.now(); ; at += 1000) if (this.#options.store.get(idAt(at)) === null) return idAt(at);
  }

  /**
   * Looks at the manifest alone, in the first of these places that has one that can be read.
   *
   * @throws Failure `restore.refused`; `backup.*`, as the first place said, where none has
   */
  async check(
    places: readonly { id: string; destination: string }[],
    parts: readonly RestorePart[],
    signer: string | null,
    asClone: boolean,
  ): Promise<{ row: { id: string; destination: string }; databaseAt: number; live: DatabaseFacts | null; remarks: string[] }> {
    const stack = this.#options.stack();
    const backups = this.#options.backups();
    const failed: unknown[] = [];
    for (const row of places) {
      let summary: ContentSummary;
      try {
        summary = await backups.summary(row.id, row.destination, signer);
      } catch (error) {
        failed.push(error);
        continue;
      }
      const live = await stack.databaseFacts().catch((error: unknown) => noDatabaseYet(error, asClone));
      assertFits(summary, await stack.facts(), live, parts);
      if (asClone) await assertEmpty(stack, live !== null);
      // One that stands goes first, and gives its space.
      const remarks = this.open() === null ? await assertDatabaseRoom(summary, stack, parts) : [];
      return { row, databaseAt: summary.databaseAt, live, remarks };
    }
    throw failed[0];
  }

  /**
   * Loads what was chosen beside what is live. What fails is taken away again, whole.
   *
   * @param replaces a restore that is not live, whose copy goes; `signer` of a backup that another Steward made
   * @returns the id of the restore
   */
  async prepare(
    {
      backup,
      destination: name,
      parts,
      asClone,
      replaces,
      signer,
    }: {
      backup: string;
      destination: string;
      parts: readonly RestorePart[];
      asClone: boolean;
      replaces: string | null;
      signer: string | null;
    },
    unlock: Unlocker,
    signal: AbortSignal,
    progress: (words: string) => void,
  ): Promise<string> {
    const { store, clock, log } = this.#options;
    const stack = this.#options.stack();
    const backups = this.#options.backups();
    const live = await stack.databaseFacts().catch((error: unknown) => noDatabaseYet(error, asClone));
    assertFits(await backups.summary(backup, name, signer), await stack.facts(), live, parts);
    if (asClone) await assertEmpty(stack, live !== null);
    const content = await backups.content({ id: backup, destination: name, signer, parts, unlock, signal, progress });
    assertFits(content.summary, await stack.facts(), live, parts);
    // While the keys were waited for, others had their turn.
    const open = this.open();
    if (open !== null && (open.id !== replaces || (open.state !== 'prepared' && open.state !== 'undone')))
      throw new Failure('restore.state', { attempted: `prepare ${backup}`, reason: `the restore ${open.id} is ${stateWords[open.state]}` });
    if (open !== null) await this.finish(open.id);
    const id = this.#nextId();
    store.begin({ id, backup, destination: name, parts, startedAt: clock.now() });
    this.#working += 1;
    try {
      const report = await prepare({ id, content, parts, asClone, stack, clock, signal, progress });
      store.prepared(id, report, clock.now());
      return id;
    } catch (error) {
      await this.#discard(id).catch((left: unknown) => log.error('what was prepared could not be taken away yet', { error: left }));
      signal.throwIfAborted();
      throw error;
    } finally {
      this.#working -= 1;
    }
  }

  /** What would be lost by a cutover, or by an undo, since the backup was taken. Null where it cannot be counted. */
  async loss(row: RestoreRow): Promise<Loss | null> {
    if (row.report?.lastEvent == null) return null;
    const since = row.state === 'live' ? (row.cutOverAt ?? 0) : row.report.databaseAt;
    return countSince(() => this.#options.stack().openSnapshot(), row.report.lastEvent, since);
  }

  /**
   * Stops the homeserver, puts what was prepared in place, and starts it. Where it does not come up all is put back as it was.
   *
   * @throws Failure `restore.rolled-back`, `restore.stuck`, `restore.state`
   */
  async cutover(id: string): Promise<Swapped> {
    return this.#atWork(() => this.#cutover(id));
  }

  async #cutover(id: string): Promise<Swapped> {
    const { store, clock, log } = this.#options;
    const row = this.inState(id, 'cut over', ['prepared', 'undone']);
    const { restores } = this.#options.stack();
    const step = (name: string): void => store.setState(row.id, 'cutting-over', clock.now(), name);
    let downtime: number;
    let proven: string;
    try {
      // Beside their neighbours, media hurt nobody: they are put there while the old server runs.
      step('media');
      if (row.parts.includes('media')) await restores.addMedia(row.id);
      const stopped = clock.monotonic();
      step('stop');
      await this.#stopAll();
      step('swap');
      if (row.parts.includes('database')) await restores.swapDatabase(row.id, 'in');
      step('files');
      await restores.swapFiles(row.id, 'in');
      step('start');
      this.#options.forgetPast();
      await this.#startAll();
      step('verify');
      await this.#untilUp();
      downtime = clock.monotonic() - stopped;
      proven = await this.#prove(row.id);
    } catch (error) {
      log.error('a cutover failed and is taken back', { error });
      await this.#putBack(row.id, 'prepared');
      throw new Failure('restore.rolled-back', { attempted: `cut over ${row.id}`, reason: reasonOf(error), cause: error });
    }
    store.swapped(row.id, 'live', clock.now(), Math.round(downtime));
    return { attached: await this.#reattach(), proven };
  }

  /** Puts back what was live before the cutover. @throws Failure `restore.state`, `restore.stuck` */
  async undo(id: string): Promise<Swapped> {
    const row = this.inState(id, 'undo', ['live', 'undoing', 'cutting-over']);
    await this.#atWork(() => this.#putBack(row.id, row.state === 'cutting-over' ? 'prepared' : 'undone'));
    return { attached: await this.#reattach(), proven: '' };
  }

  /** Removes what is kept aside: the old data of one that is live, else the copy that was loaded. */
  async finish(id: string): Promise<void> {
    return this.#atWork(() => this.#finish(id));
  }

  async #finish(id: string): Promise<void> {
    const { store, clock } = this.#options;
    const row = this.inState(id, 'finish', ['live', 'prepared', 'undone', 'finishing']);
    const { restores } = this.#options.stack();
    const of = row.state === 'finishing' ? row.step : row.state;
    // From here on there is no way back, also after a stop half-way.
    store.setState(row.id, 'finishing', clock.now(), of);
    await restores.dropDatabase(row.id, 'kept');
    if (of !== 'live') await restores.dropDatabase(row.id, 'prepared');
    await restores.dropFiles(row.id);
    store.setState(row.id, 'finished', clock.now());
  }

  /** Takes back, or finishes, what a stop has cut off. Called when Steward starts; resolves when the homeserver is on one side. */
  recover(): Promise<void> {
    this.#recovering ??= this.#recover();
    return this.#recovering;
  }

  async #recover(): Promise<void> {
    const { log, recovered, stuck } = this.#options;
    for (const { id, state, step, probe } of this.list()) {
      if (state === 'live' && probe !== null) await this.#erase(id, probe);
      if (!isBetween(state)) continue;
      log.warn('a restore was cut off', { state, ...(step === null ? {} : { reason: step }) });
      try {
        if (state === 'preparing') await this.#atWork(() => this.#discard(id));
        else if (state === 'finishing') await this.finish(id);
        else await this.undo(id);
        recovered(id, this.find(id).state);
      } catch (error) {
        log.error('a restore that was cut off could not be taken back', { error });
        stuck(id, reasonOf(error));
      }
    }
  }

  async #atWork<T>(work: () => Promise<T>): Promise<T> {
    this.#working += 1;
    try {
      return await work();
    } finally {
      this.#working -= 1;
    }
  }

  async #discard(id: string): Promise<void> {
    const { store, clock } = this.#options;
    const { restores } = this.#options.stack();
    await restores.dropFiles(id);
    const end = clock.monotonic() + backBound;
    for (;;) {
      try {
        await restores.dropDatabase(id, 'prepared');
        break;
      } catch (error) {
        const isAway = error instanceof Failure && error.id === 'stack.database-unreachable';
        if (!isAway || clock.monotonic() > end) throw error;
        await clock.sleep(10 * lookEvery);
      }
    }
    store.setState(id, 'failed', clock.now());
  }

  /** Each step may have been done already, by this run or by one that was cut off. */
  async #putBack(id: string, to: 'prepared' | 'undone'): Promise<void> {
    const { store, clock } = this.#options;
    const row = this.find(id);
    const { restores } = this.#options.stack();
    const doing = to === 'prepared' ? 'cutting-over' : 'undoing';
    const step = (name: string): void => store.setState(id, doing, clock.now(), name);
    const attempted = `put back what was live before ${id}`;
    const stopped = clock.monotonic();
    try {
      step('back:stop');
      await this.#stopAll();
      step('back:files');
      await restores.swapFiles(id, 'out');
      step('back:swap');
      if (row.parts.includes('database')) await restores.swapDatabase(id, 'out');
      // Where no database was live before, there is nothing to start on.
      if (!row.parts.includes('database') || (await restores.databases(id)).live) {
        step('back:start');
        this.#options.forgetPast();
        await this.#startAll();
        step('back:verify');
        await this.#untilUp();
      }
    } catch (error) {
      throw new Failure('restore.stuck', { attempted, reason: reasonOf(error), cause: error });
    }
    const downtime = clock.monotonic() - stopped;
    // Their rows are gone already: nobody asks for them.
    if (row.parts.includes('media')) await restores.takeMediaBack(id);
    if (to === 'undone') store.swapped(id, 'undone', clock.now(), Math.round(downtime));
    else store.setState(id, 'prepared', clock.now());
  }

  /**
   * One that answers may still be unable to write: an account is made, logs in, writes, and is erased.
   *
   * @returns what was proven, in words
   * @throws Failure with the reason
   */
  async #prove(id: string): Promise<string> {
    const { clock, probe: make, store } = this.#options;
    const probe = make();
    if (probe === null) return 'the homeserver runs; Steward is told no address of it to try more';
    // Of a cutover to the same data that was cut off.
    const before = this.find(id).probe;
    if (before !== null) await this.#erase(id, before);
    const name = probe.newName();
    store.setProbe(id, name);
    const end = clock.monotonic() + probeBound;
    for (;;) {
      try {
        const proven = await probe.prove(name);
        const erased = await this.#erase(id, name);
        return erased
          ? proven
          : `${proven}; the account ${name} could not be erased: the next start of Steward does, or \`user deactivate ${name}\``;
      } catch (error) {
        if (!(error instanceof Failure) || clock.monotonic() > end)
          throw new Failure('homeserver.not-done', {
            attempted: 'log in and write on the restored homeserver',
            reason: `it answers, but nobody can log in and write: ${reasonOf(error)}`,
            cause: error,
          });
      }
      await clock.sleep(10 * lookEvery);
    }
  }

  /** @returns whether it is gone */
  async #erase(id: string, name: string): Promise<boolean> {
    const { log, probe, store } = this.#options;
    try {
      await probe()?.erase(name);
      store.setProbe(id, null);
      return true;
    } catch (error) {
      log.error('the account that a restore was verified with could not be erased', { error });
      return false;
    }
  }

  async #stopAll(): Promise<void> {
    const stack = this.#options.stack();
    const components = await stack.components();
    if (components.length === 0) throw new Failure('restore.no-control');
    for (const { name } of components.reverse()) await stack.stop(name, never);
  }

  async #startAll(): Promise<void> {
    const stack = this.#options.stack();
    for (const { name } of await stack.components()) await stack.start(name, never);
  }

  /** @throws Failure `stack.not-running` */
  async #untilUp(): Promise<void> {
    const { clock, answers } = this.#options;
    const stack = this.#options.stack();
    const end = clock.monotonic() + upBound;
    let ranLast = clock.monotonic();
    for (;;) {
      const up = await answers();
      if (up === true) return;
      const dead = (await stack.components()).find(({ running }) => !running);
      if (dead === undefined) {
        if (up === null) return;
        ranLast = clock.monotonic();
      }
      const now = clock.monotonic();
      if (now > end || now - ranLast > deadBound)
        throw new Failure('stack.not-running', {
          attempted: 'start the homeserver',
          reason: dead === undefined ? `it does not answer after ${upBound / 1000} s` : `${dead.name} ends by itself`,
        });
      await clock.sleep(lookEvery);
    }
  }

  /** The homeserver is well; that Steward is not heard there is told, and undoes nothing. */
  async #reattach(): Promise<string[]> {
    const { log, reattach } = this.#options;
    try {
      const done = await reattach();
      for (const words of done) log.info('attached to the homeserver again', { reason: words });
      return done;
    } catch (error) {
      log.error('Steward could not attach itself to the homeserver again', { error });
      return [`not attached: ${reasonOf(error)}. ${asFailure(error).hint}`];
    }
  }
}

const never = new AbortController().signal;

/** Whether a restore in this state is on its way to another one, which somebody must bring it to. */
export function isBetween(state: RestoreState): boolean {
  return state === 'preparing' || state === 'cutting-over' || state === 'undoing' || state === 'finishing';
}

export const stateWords: Readonly<Record<RestoreState, string>> = {
  preparing: 'being prepared',
  prepared: 'prepared',
  'cutting-over': 'being cut over',
  live: 'live',
  undoing: 'being undone',
  undone: 'undone',
  finishing: 'being finished',
  finished: 'finished',
  failed: 'taken away, because it failed',
};

function reasonOf(error: unknown): string {
  return error instanceof Failure ? error.message : asFailure(error).reason;
}

/**
 * An empty new server has no database, or one without tables. One of SQLite that is damaged says nothing either, and may have been
 * full of accounts: a clone never takes its place.
 */
function noDatabaseYet(error: unknown, asClone: boolean): null {
  const { message, cause, id } = error as {
    id?: string;
    message?: string;
    cause?: { code?: string; errcode?: number };
  };
  // PostgreSQL: 3D000, no such database. SQLite: 14, no such file.
  const isMissing = id === 'stack.database-unreachable' && (cause?.code === '3D000' || cause?.errcode === 14);
  if (isMissing || id === 'stack.no-schema' || message?.startsWith('no such table') === true) return null;
  // SQLITE_CORRUPT, SQLITE_NOTADB.
  if (!asClone && [11, 26].includes(((error as { errcode?: number }).errcode ?? 0) & 0xff)) return null;
  throw error;
}

async function countSince(openView: () => Promise<Snapshot>, lastEvent: number, since: number): Promise<Loss | null> {
  const view = await openView().catch(() => null);
  if (view === null) return null;
  try {
    const count = async (sql: string): Promise<number> => Number((await view.rows(`SELECT count(*) AS n FROM ${sql}`))[0]?.['n']);
    return {
      events: await count(`events WHERE stream_ordering > ${lastEvent}`),
      // But for the one that the cutover was verified with.
      users: await count(`users WHERE creation_ts > ${Math.floor(since / 1000)} AND name NOT LIKE '@steward-probe-%'`),
      media: await count(`local_media_repository WHERE created_ts > ${since} AND url_cache IS NULL`),
    };
  } catch {
    return null;
  } finally {
    await view.close();
  }
}
