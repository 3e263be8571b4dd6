import type { AlertChannel } from '../alerts/channel.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { asFailure } from '../failures/failure.ts';
import type { Synapse } from '../homeserver/synapse/synapse.ts';
import type { RestoreRow } from '../store/restores.ts';
import type { Backup } from '../backup/backups.ts';
import type { Beat } from '../backup/heartbeat.ts';
import type { Capability } from '../stack/stack.ts';
import { lookAtBackups, lookAtHeartbeat } from './backups.ts';
import { lookAtChannels } from './channels.ts';
import { lookAtClock, lookAtHomeserver, lookAtRateLimit, lookAtToken, lookWhetherAdmin } from './homeserver.ts';
import { lookAtEngine, type EngineLook } from './engine.ts';
import { fail, lineNames, skipped, type Finding, type Line, type LineName } from './line.ts';
import { withPowers } from './powers.ts';
import { lookAtRestores } from './restores.ts';
import { lookAtDisk, lookAtStore } from './store.ts';

export interface DoctorOptions {
  config: () => Config;
  /** Null where none is configured. */
  homeserver: () => Synapse | null;
  store: { isWritable(): boolean };
  channels: () => readonly AlertChannel[];
  /** What channels have not taken, by name. */
  undelivered: () => ReadonlyMap<string, { count: number; since: number }>;
  /** What the catalogue knows, newest first; null where no place for backups is configured. */
  backups: () => readonly Backup[] | null;
  /** What guards the database; undefined where no place for backups is configured. */
  engine: () => EngineLook | undefined;
  /** Restores that were made, newest first, and whether one is at work now. */
  restores: () => { rows: readonly RestoreRow[]; isBusy: boolean };
  /** What Steward may do on the host; empty where it is to do nothing there, or that cannot be told. */
  powers: () => Promise<readonly Capability[]>;
  /** Whether a change of their recipients waits for its approval. */
  recipientsWait: () => Promise<boolean>;
  /** The last heartbeat; null where none was due, undefined where no address is set. */
  heartbeat: () => Beat | null | undefined;
  clock: Clock;
  /** Lines that other parts know how to look at. */
  others: Readonly<Record<'room' | 'crypto', (homeserver: Synapse) => Promise<Finding>>>;
}

/** Milliseconds that one look may take. */
const patience = 30_000;
/** What only the homeserver can tell. */
const remote: ReadonlySet<LineName> = new Set(['token', 'admin', 'rate-limit', 'room', 'crypto', 'clock']);

const away = skipped('the homeserver does not answer');

/** Looks at everything that Steward stands on: reading only, with the homeserver up or down, beside a daemon or without one. */
export class Doctor {
  readonly #options: DoctorOptions;

  constructor(options: DoctorOptions) {
    this.#options = options;
  }

  /** Every line, in order. Never throws: what cannot be looked at is a line that fails. */
  async look(): Promise<Line[]> {
    const homeserver = this.#options.homeserver();
    let known: ReturnType<DoctorOptions['powers']> | undefined;
    const powers = (): ReturnType<DoctorOptions['powers']> => (known ??= this.#options.powers());
    const first = await this.#line('homeserver', () => lookAtHomeserver(homeserver, this.#options.clock));
    const rest = await Promise.all(
      lineNames.filter((name) => name !== 'homeserver').map((name) => this.#line(name, this.#lookOf(name, homeserver, first, powers))),
    );
    if (first.state === 'fail' || !rest.some(({ name, state }) => remote.has(name) && state === 'fail')) return [first, ...rest];
    // It may have stopped meanwhile, and then only that is wrong.
    const again = await this.#line('homeserver', () => lookAtHomeserver(homeserver, this.#options.clock));
    if (again.state !== 'fail') return [first, ...rest];
    return [again, ...rest.map((line) => (remote.has(line.name) ? { name: line.name, ...away } : line))];
  }

  /** @param powers asked at most once for all lines */
  #lookOf(name: LineName, homeserver: Synapse | null, first: Line, powers: DoctorOptions['powers']): () => Promise<Finding> {
    const { config, store, channels, undelivered, backups, engine, recipientsWait, restores, heartbeat, clock, others } = this.#options;
    if (remote.has(name) && (homeserver === null || first.state === 'fail'))
      return () => Promise.resolve(homeserver === null ? skipped('no homeserver is configured') : away);
    const looks: Record<Exclude<LineName, 'homeserver'>, (hs: Synapse) => Promise<Finding>> = {
      token: (hs) => lookAtToken(hs, config()),
      admin: (hs) => lookWhetherAdmin(hs, config()),
      'rate-limit': (hs) => lookAtRateLimit(hs, config()),
      room: others.room,
      crypto: others.crypto,
      store: () => Promise.resolve(lookAtStore(store)),
      disk: () => lookAtDisk(config().dataDir),
      clock: () => lookAtClock(config(), clock),
      backups: async () =>
        withPowers(
          lookAtBackups(
            backups(),
            Object.keys(config().backup?.destinations ?? {}).length,
            clock.now(),
            engine()?.engine?.name ?? null,
            await recipientsWait(),
          ),
          await powers(),
          ['dump'],
        ),
      engine: () => lookAtEngine(engine(), clock.now()),
      restores: async () =>
        withPowers(lookAtRestores(restores().rows, restores().isBusy, clock.now()), await powers(), ['restore', 'control']),
      heartbeat: () => Promise.resolve(lookAtHeartbeat(heartbeat(), clock.now())),
      channels: () => Promise.resolve(lookAtChannels(channels(), undelivered(), clock.now())),
    };
    const look = looks[name as Exclude<LineName, 'homeserver'>];
    // The local ones never use it.
    return () => look(homeserver as Synapse);
  }

  async #line(name: LineName, look: () => Promise<Finding>): Promise<Line> {
    const done = new AbortController();
    try {
      const tooLong = this.#options.clock.sleep(patience, done.signal).then(() => fail('no answer within 30 s', 'Look again in a minute.'));
      return { name, ...(await Promise.race([look(), tooLong])) };
    } catch (error) {
      const failure = asFailure(error);
      return { name, ...fail(failure.reason, failure.hint) };
    } finally {
      done.abort();
    }
  }
}
