import type { Clock, Ids } from '../clock.ts';
import type { AlertMessages, Delivery } from '../store/alert-messages.ts';
import type { AlertRow, AlertStore } from '../store/alerts.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import type { AlertChannel } from './channel.ts';
import { messageOf, type AlertMessage } from './message.ts';
import { alertTable, type AlertId } from './table.ts';

export interface Raised {
  id: AlertId;
  /** Which of its kind, where there can be several at once: a user id. */
  subject?: string;
  /** What is wrong in this case, without a full stop. Holds no secret. */
  detail: string;
  /** Replaces the table's. */
  next?: string;
}

export interface AlertsOptions {
  store: Store;
  alerts: AlertStore;
  messages: AlertMessages;
  /** Those that the configuration names now. */
  channels: () => readonly AlertChannel[];
  /** Milliseconds after which a critical alert that nobody has taken is told again. */
  repeat: () => number;
  clock: Clock;
  ids: Ids;
  log: Log;
}

/** Milliseconds that the first of several alerts waits for the others, so that they become one message. */
const together = 2000;
const second = 1000;
const minute = 60 * second;
const shortestRetry = 5 * second;
const longestRetry = 5 * minute;
/** After this an alert that a channel never took is news no more. */
const giveUp = 3 * 24 * 60 * minute;
/** Milliseconds that 🔕 is good for. */
export const muteFor = 4 * 60 * minute;

/**
 * Every alert, from the moment when it is raised until each channel and the room have it. What is raised is kept in the
 * store, so that a restart loses nothing; the same alert is told once while it stands, and once when it is over.
 */
export class Alerts {
  readonly #options: AlertsOptions;
  readonly #delivering = new Map<string, Promise<void>>();
  #wake = new AbortController();
  #tellRoom: (message: AlertMessage) => void = () => undefined;

  constructor(options: AlertsOptions) {
    this.#options = options;
  }

  /** Where the room is told, in the transaction that makes a message. */
  set room(tell: (message: AlertMessage) => void) {
    this.#tellRoom = tell;
  }

  /** An alert that stands until it is resolved. Joins the caller's transaction; again while it stands changes what it says, and tells nothing. */
  raise({ id, subject = '', detail, next = alertTable[id].next }: Raised): void {
    const { alerts, clock, store } = this.#options;
    store.transaction(() => {
      const standing = alerts.standing(id, subject);
      if (standing !== null) {
        if (standing.detail !== detail || standing.next !== next) alerts.setDetail(standing.seq, detail, next);
        return;
      }
      // One that comes and goes is as quiet as it was asked to be.
      const mutedUntil = alerts.latest(id, subject)?.mutedUntil ?? null;
      alerts.add({ id, subject, detail, next, event: false, raisedAt: clock.now(), mutedUntil });
    });
    this.wake();
  }

  /** Something that has happened, and is told once. */
  happened({ id, subject = '', detail, next = alertTable[id].next }: Raised): void {
    const { alerts, clock, store } = this.#options;
    store.transaction(() => {
      alerts.add({ id, subject, detail, next, event: true, raisedAt: clock.now(), mutedUntil: null });
    });
    this.wake();
  }

  /** It is over. What was never told is forgotten. */
  resolve(id: AlertId, subject = ''): void {
    const { alerts, clock, store } = this.#options;
    const standing = alerts.standing(id, subject);
    if (standing === null) return;
    store.transaction(() => {
      alerts.resolve(standing.seq, clock.now());
      if (standing.toldAt === null && standing.mutedUntil === null) alerts.remove(standing.seq);
    });
    this.wake();
  }

  standing(): AlertRow[] {
    return this.#options.alerts.allStanding();
  }

  /** Quiet for four hours: all that a message told of. @returns what it was, empty when nothing of it is known any more */
  mute(ref: string): { alerts: AlertRow[]; until: number } {
    const { alerts, clock, store } = this.#options;
    const until = clock.now() + muteFor;
    const found = alerts.ofMessage(ref);
    store.transaction(() => {
      for (const { seq } of found) alerts.mute(seq, until);
    });
    return { alerts: found, until };
  }

  /** A person has taken what a message told of: it is not told again while it stands. */
  own(ref: string, person: string): AlertRow[] {
    const { alerts, store } = this.#options;
    const found = alerts.ofMessage(ref);
    store.transaction(() => {
      for (const { seq } of found) alerts.own(seq, person);
    });
    return found;
  }

  /** What channels have not taken: how many messages, and since when, by channel. */
  undelivered(): Map<string, { count: number; since: number }> {
    const found = new Map<string, { count: number; since: number }>();
    for (const { channel, madeAt } of this.#options.messages.waiting()) {
      const { count, since } = found.get(channel) ?? { count: 0, since: madeAt };
      found.set(channel, { count: count + 1, since });
    }
    return found;
  }

  /** Looks again at once: something was raised, or the configuration is another. */
  wake(): void {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  /** Tells and delivers until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => {
      this.wake();
    };
    signal.addEventListener('abort', stop);
    while (!signal.aborted) {
      // Before looking: what is raised from here on ends the sleep.
      const wake = this.#wake.signal;
      await this.#options.clock.sleep(this.#pass(signal), wake);
    }
    signal.removeEventListener('abort', stop);
    await Promise.all(this.#delivering.values());
  }

  /** Tells at once and tries each channel once; for a process that ends now. */
  async flush(signal: AbortSignal): Promise<void> {
    this.#tell(0);
    this.#deliver(signal);
    await Promise.all(this.#delivering.values());
  }

  prune(before: number): void {
    const { alerts, messages, store } = this.#options;
    store.transaction(() => {
      messages.prune(before);
      alerts.prune(before);
    });
  }

  /** One look at everything. @returns milliseconds until the next */
  #pass(signal: AbortSignal): number {
    try {
      return Math.max(10, Math.min(this.#tell(together), this.#deliver(signal), minute));
    } catch (error) {
      this.#options.log.error('alerts are looked at later', { error });
      return shortestRetry;
    }
  }

  /** Makes a message of what is due, when the first of it has waited `wait` milliseconds. @returns until when nothing is due */
  #tell(wait: number): number {
    const { alerts, channels, clock, ids, messages, store } = this.#options;
    const now = clock.now();
    const open = alerts.open().map((alert) => ({ alert, due: this.#dueAt(alert) }));
    const first = Math.min(...open.map(({ due }) => due));
    if (first + wait > now) return first + wait - now;
    const due = open.filter((each) => each.due <= now).map(({ alert }) => alert);
    const message = messageOf(ids.short(8), due, now);
    store.transaction(() => {
      const told = due.map(({ seq }) => seq);
      messages.add(
        message.ref,
        JSON.stringify(message),
        told,
        channels().map(({ name }) => name),
        now,
      );
      for (const { seq, resolvedAt } of due) {
        if (resolvedAt === null) alerts.told(seq, now);
        else alerts.resolutionTold(seq, now);
      }
      this.#tellRoom(message);
    });
    return this.#tell(wait);
  }

  /** When something of an alert is to be told; Infinity where nothing is. */
  #dueAt({ id, resolvedAt, toldAt, raisedAt, mutedUntil, owner }: AlertRow): number {
    const now = this.#options.clock.now();
    // What lies further ahead than it can is of a clock that was set back since, and is told now.
    const unless = (at: number, ahead: number): number => (at > now + ahead ? 0 : at);
    if (resolvedAt !== null) return unless(resolvedAt, 0);
    const quiet = unless(mutedUntil ?? 0, muteFor);
    if (toldAt === null) return Math.max(unless(raisedAt, 0), quiet);
    const repeats = alertTable[id as AlertId].severity === 'critical' && owner === null;
    return repeats ? Math.max(unless(toldAt + this.#options.repeat(), this.#options.repeat()), quiet) : Number.POSITIVE_INFINITY;
  }

  /** Starts what is due on each channel, one message at a time and in order. @returns milliseconds until the next */
  #deliver(signal: AbortSignal): number {
    const { channels, clock, log, messages } = this.#options;
    const now = clock.now();
    const known = new Map(channels().map((channel) => [channel.name as string, channel]));
    const seen = new Set<string>();
    let next = Number.POSITIVE_INFINITY;
    for (const delivery of messages.waiting()) {
      const channel = known.get(delivery.channel);
      if (channel === undefined || now - delivery.madeAt > giveUp) {
        log.error('an alert was never delivered', { alert: delivery.ref, channel: delivery.channel, attempt: delivery.tries });
        messages.done(delivery.seq);
        continue;
      }
      if (seen.has(delivery.channel)) continue;
      seen.add(delivery.channel);
      if (this.#delivering.has(delivery.channel) || signal.aborted) continue;
      const wait = delivery.nextAt - now;
      // A longer one is of a clock that was set back since.
      if (wait > 0 && wait <= longestRetry) {
        next = Math.min(next, wait);
        continue;
      }
      const work = this.#deliverOne(channel, delivery, signal).finally(() => {
        this.#delivering.delete(delivery.channel);
        this.wake();
      });
      this.#delivering.set(delivery.channel, work);
    }
    return next;
  }

  async #deliverOne(channel: AlertChannel, delivery: Delivery, signal: AbortSignal): Promise<void> {
    const { clock, ids, log, messages } = this.#options;
    const { alert } = JSON.parse(delivery.message) as AlertMessage;
    try {
      await channel.send(alert, signal);
      messages.done(delivery.seq);
    } catch (error) {
      if (signal.aborted) return;
      const wait = Math.min(longestRetry, shortestRetry * 2 ** Math.min(10, delivery.tries)) * (0.5 + ids.fraction() / 2);
      log.error('an alert could not be delivered yet', {
        alert: delivery.ref,
        channel: channel.name,
        attempt: delivery.tries + 1,
        retry_after_ms: Math.round(wait),
        error,
      });
      try {
        messages.postpone(delivery.seq, delivery.tries + 1, clock.now() + Math.round(wait));
      } catch (unkept) {
        // A store without space: the attempts follow each other at the pace of the passes.
        log.error('the next attempt could not be written down', { channel: channel.name, error: unkept });
        await clock.sleep(wait, signal);
      }
    }
  }
}
