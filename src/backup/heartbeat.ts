import type { Alerts } from '../alerts/alerts.ts';
import { sendPatiently } from '../alerts/post.ts';
import type { Clock } from '../clock.ts';
import type { Secret } from '../config/secret.ts';
import { asFailure } from '../failures/failure.ts';
import type { Facts } from '../store/facts.ts';
import type { Log } from '../telemetry/log.ts';

/** After a failed one it is sent again; milliseconds. */
const retryAfter = 15 * 60_000;

/** The last heartbeat: for which backup, and what became of it. */
export interface Beat {
  backup: string;
  state: 'due' | 'sent' | 'failed';
  /** When it was due, sent or failed; milliseconds since the epoch. */
  at: number;
  /** Why it failed, or null. */
  reason: string | null;
}

export interface HeartbeatOptions {
  /** Address of the monitor that misses it, or null where none is set. */
  url: () => Secret | null;
  facts: Facts;
  alerts: Pick<Alerts, 'raise' | 'resolve'>;
  clock: Clock;
  log: Log;
}

/**
 * Tells a monitor off the homeserver that a backup was made and proven: that monitor pages when it hears nothing. What is due is
 * stored, so that a restart sends it. One that fails is told, and never fails the backup.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #sending: Promise<void> | null = null;
  /** On the clock that is never set. */
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** A proven backup is to be told of. Joins the caller's transaction. */
  due(backup: string): void {
    if (this.#options.url() === null) return;
    this.#put({ backup, state: 'due', at: this.#options.clock.now(), reason: null });
    this.#notBefore = Number.NEGATIVE_INFINITY;
    queueMicrotask(() => {
      this.kick();
    });
  }

  /** The last one, or null; null too where no address is set. */
  last(): Beat | null {
    const kept = this.#options.facts.get('heartbeat');
    return kept === null || this.#options.url() === null ? null : (JSON.parse(kept) as Beat);
  }

  /** Sends what is due, and what failed a while ago. Never throws. */
  kick(): void {
    const beat = this.last();
    if (beat === null || beat.state === 'sent' || this.#sending !== null || this.#options.clock.monotonic() < this.#notBefore) return;
    this.#sending = this.#send(beat)
      .catch((error: unknown) => {
        this.#options.log.error('what became of a heartbeat could not be written down', { error });
      })
      .finally(() => {
        this.#sending = null;
      });
  }

  /** Resolves when nothing is being sent. */
  async idle(): Promise<void> {
    await this.#sending;
  }

  async #send({ backup }: Beat): Promise<void> {
    const { alerts, clock, log, url } = this.#options;
    const address = url();
    if (address === null) return;
    try {
      const attempted = `send the heartbeat of ${backup}`;
      await sendPatiently({ method: 'GET', url: address, headers: {}, body: null, attempted }, { clock }, new AbortController().signal);
    } catch (error) {
      const { reason } = asFailure(error);
      this.#notBefore = clock.monotonic() + retryAfter;
      log.error('a heartbeat was not taken', { error });
      this.#end(backup, 'failed', reason);
      alerts.raise({ id: 'doctor.heartbeat', detail: `the one of ${backup} was not taken: ${reason}` });
      return;
    }
    this.#end(backup, 'sent', null);
    alerts.resolve('doctor.heartbeat');
  }

  /** Another backup may have become due meanwhile. */
  #end(backup: string, state: 'sent' | 'failed', reason: string | null): void {
    if (this.last()?.backup === backup) this.#put({ backup, state, at: this.#options.clock.now(), reason });
    else this.kick();
  }

  #put(beat: Beat): void {
    this.#options.facts.set('heartbeat', JSON.stringify(beat));
  }
}
