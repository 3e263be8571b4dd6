import type { MatrixClient } from '../../src/matrix/client.ts';
import { MatrixRequestError } from '../../src/matrix/client.ts';
import type { RoomEvent, SyncAnswer } from '../../src/matrix/sync-types.ts';
import type { ModelClock } from './clock.ts';

export interface SentEvent extends RoomEvent {
  redactedBy: string | null;
  /** Its place in the order in which clients are given events; null as long as it is held back. */
  place: number | null;
  /** Clients get it as it was sent, also when it has been redacted meanwhile. */
  isStale: boolean;
}

/** What goes wrong with the next write of Steward. `lost`: it is done, and the answer does not come. */
export type WriteFault = 'lost' | 'refused' | 'limited';

const pageSize = 20;

/** One room of a homeserver: what a client sees of it, in memory. Time is the server's own. */
export class ModelHomeserver {
  readonly roomId = '!room:model';
  readonly botId = '@steward:model';
  /** In the order in which they were sent. */
  readonly events: SentEvent[] = [];
  /** In the order in which clients are given them. */
  readonly #stream: SentEvent[] = [];
  /** Faults for the writes to come, in turn. */
  readonly faults: WriteFault[] = [];
  /** How many events Steward has been given. */
  delivered = 0;
  readonly #clock: ModelClock;
  readonly #byTxn = new Map<string, string>();
  #listeners: (() => void)[] = [];
  /** How many of the last events the next sync brings once more. */
  #again = 0;
  /** What is wrong with the next sync: its events are turned round, or all but the last two are left out. */
  #next: 'reversed' | 'cut' | null = null;
  /** How many of the next events of others are held back. */
  #holding = 0;

  constructor(clock: ModelClock) {
    this.#clock = clock;
  }

  /** Somebody sends an event. @returns its id */
  send(sender: string, type: string, content: Record<string, unknown>): string {
    const eventId = `$${this.events.length}`;
    const isHeld = this.#holding > 0 && sender !== this.botId;
    if (isHeld) this.#holding -= 1;
    const event: SentEvent = {
      event_id: eventId,
      type,
      sender,
      origin_server_ts: this.#clock.now(),
      content,
      // When it was sent, by a clock that never jumps.
      unsigned: { age: this.#clock.monotonic() },
      redactedBy: null,
      place: null,
      isStale: isHeld,
    };
    this.events.push(event);
    if (type === 'm.room.redaction') {
      const redacted = this.event(String(content['redacts']));
      if (redacted !== undefined) redacted.redactedBy = eventId;
    }
    if (!isHeld) this.#give(event);
    return eventId;
  }

  /** The next `count` events of others come when `release` is called, as they were sent. */
  hold(count: number): void {
    this.#holding = count;
  }

  /** What was held back comes now, behind all that was sent since. */
  release(): void {
    this.#holding = 0;
    for (const event of this.events) if (event.place === null) this.#give(event);
  }

  event(eventId: string): SentEvent | undefined {
    return this.events.find((event) => event.event_id === eventId);
  }

  /** The next sync brings events that were brought before. */
  repeat(count: number): void {
    this.#again = count;
  }

  /** The next sync that brings something brings it so. */
  disturb(how: 'reversed' | 'cut'): void {
    this.#next = how;
  }

  /** The connection of one process of Steward; nothing is answered after `end`. */
  connect(): { client: MatrixClient; end(): void } {
    let ended = false;
    const answer = async <T>(work: () => T): Promise<T> => {
      // Every request takes a moment, in which the process may be killed.
      await new Promise((resolve) => setImmediate(resolve));
      if (ended) await never();
      const result = work();
      await new Promise((resolve) => setImmediate(resolve));
      if (ended) await never();
      return result;
    };
    const write = (txnId: string, work: () => string): Promise<string> =>
      answer(() => {
        const fault = this.faults.shift();
        if (fault === 'refused') throw new MatrixRequestError('PUT', 500, 'M_UNKNOWN', null);
        if (fault === 'limited') throw new MatrixRequestError('PUT', 429, 'M_LIMIT_EXCEEDED', 700);
        const known = this.#byTxn.get(txnId);
        const eventId = known ?? work();
        this.#byTxn.set(txnId, eventId);
        if (fault === 'lost') throw new MatrixRequestError('PUT', null, null, null);
        return eventId;
      });
    const client = {
      whoami: () => answer(() => ({ user_id: this.botId, device_id: 'STEWARD' })),
      join: () => answer(() => undefined),
      leave: () => answer(() => undefined),
      state: () => answer(() => null),
      accountData: () => answer(() => null),
      setAccountData: () => answer(() => undefined),
      setState: () => answer(() => undefined),
      event: (_room: string, eventId: string) => answer(() => this.#seen(this.event(eventId))),
      send: (_room: string, type: string, txnId: string, content: Record<string, unknown>) =>
        write(txnId, () => {
          this.#refuseTwice(type, content);
          return this.send(this.botId, type, content);
        }),
      redact: (_room: string, eventId: string, txnId: string, reason: string) =>
        write(txnId, () => this.send(this.botId, 'm.room.redaction', { redacts: eventId, reason })),
      sync: async (since: string | null, timeout: number) => {
        if (since !== null && Number(since) >= this.#stream.length && this.#again === 0 && timeout > 0) await this.#news(timeout);
        return answer(() => this.#syncAnswer(since));
      },
      messagesBefore: (_room: string, from: string, to: string) =>
        answer(() => ({
          chunk: this.#stream
            .slice(Number(to), Number(from))
            .reverse()
            .map((event) => this.#seen(event)),
        })),
    };
    return {
      client: client as unknown as MatrixClient,
      end: () => {
        ended = true;
      },
    };
  }

  #give(event: SentEvent): void {
    event.place = this.#stream.length;
    this.#stream.push(event);
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener();
  }

  #syncAnswer(since: string | null): SyncAnswer {
    const from = Math.max(0, Number(since ?? 0) - this.#again);
    this.#again = 0;
    const fresh = this.#stream.slice(from);
    const how = fresh.length === 0 ? null : this.#next;
    if (how !== null) this.#next = null;
    const timeline = fresh.slice(how === 'cut' ? -2 : -pageSize);
    if (how === 'reversed') timeline.reverse();
    this.delivered = this.#stream.length;
    const limited = fresh.length > timeline.length;
    return {
      next_batch: String(this.#stream.length),
      rooms: {
        join: {
          [this.roomId]: {
            timeline: {
              events: timeline.map((event) => this.#seen(event)),
              limited,
              prev_batch: String(this.#stream.length - timeline.length),
            },
          },
        },
      },
    };
  }

  /** The event as a client gets it now: redacted ones are empty, unless they are stale. */
  #seen(event: SentEvent | undefined): RoomEvent {
    if (event === undefined) throw new MatrixRequestError('GET', 404, 'M_NOT_FOUND', null);
    const { redactedBy, isStale, event_id, type, sender, origin_server_ts, content } = event;
    const age = this.#clock.monotonic() - (event.unsigned?.age ?? 0);
    return { event_id, type, sender, origin_server_ts, content: redactedBy === null || isStale ? content : {}, unsigned: { age } };
  }

  #refuseTwice(type: string, content: Record<string, unknown>): void {
    if (type !== 'm.reaction') return;
    const wanted = JSON.stringify(content);
    const isThere = this.events.some(
      (event) =>
        event.sender === this.botId && event.type === type && event.redactedBy === null && JSON.stringify(event.content) === wanted,
    );
    if (isThere) throw new MatrixRequestError('PUT', 400, 'M_DUPLICATE_ANNOTATION', null);
  }

  async #news(timeout: number): Promise<void> {
    const waiting = new AbortController();
    this.#listeners.push(() => {
      waiting.abort();
    });
    await this.#clock.sleep(timeout, waiting.signal);
  }
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
