import type { MatrixClient } from '../../src/matrix/client.ts';
import { MatrixRequestError } from '../../src/matrix/client.ts';
import type { SyncAnswer } from '../../src/matrix/sync-types.ts';
import type { ModelClock } from './clock.ts';
import { faulty, never, seen, type Connection, type SentEvent, type Server, type WriteFault } from './server.ts';

const pageSize = 20;

/** One room of a homeserver: what a client sees of it, in memory. Time is the server's own. */
export class ModelHomeserver implements Server {
  readonly roomId = '!room:model';
  readonly botId = '@steward:model';
  readonly events: SentEvent[] = [];
  /** In the order in which clients are given them. */
  readonly #stream: SentEvent[] = [];
  readonly faults: WriteFault[] = [];
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

  send(sender: string, type: string, content: Record<string, unknown>): Promise<string> {
    return Promise.resolve(this.#add(sender, type, content));
  }

  #add(sender: string, type: string, content: Record<string, unknown>): string {
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

  hold(count: number): void {
    this.#holding = count;
  }

  release(): void {
    this.#holding = 0;
    for (const event of this.events) if (event.place === null) this.#give(event);
  }

  event(eventId: string): SentEvent | undefined {
    return this.events.find((event) => event.event_id === eventId);
  }

  repeat(count: number): void {
    this.#again = count;
  }

  disturb(how: 'reversed' | 'cut'): void {
    this.#next = how;
  }

  connect(): Connection {
    let ended = false;
    const answer = async <T>(work: () => T | Promise<T>): Promise<T> => {
      // Every request takes a moment, in which the process may be killed.
      await new Promise((resolve) => setImmediate(resolve));
      if (ended) await never();
      const result = await work();
      await new Promise((resolve) => setImmediate(resolve));
      if (ended) await never();
      return result;
    };
    const write = (txnId: string, work: () => string): Promise<string> =>
      answer(() =>
        faulty(this.faults, () => {
          const eventId = this.#byTxn.get(txnId) ?? work();
          this.#byTxn.set(txnId, eventId);
          return Promise.resolve(eventId);
        }),
      );
    const client = {
      whoami: () => answer(() => ({ user_id: this.botId, device_id: 'STEWARD' })),
      join: () => answer(() => undefined),
      leave: () => answer(() => undefined),
      state: () => answer(() => null),
      accountData: () => answer(() => null),
      setAccountData: () => answer(() => undefined),
      setState: () => answer(() => undefined),
      event: (_room: string, eventId: string) =>
        answer(() => {
          const event = this.event(eventId);
          if (event === undefined) throw new MatrixRequestError('GET', 404, 'M_NOT_FOUND', null);
          return seen(event, this.#clock.monotonic());
        }),
      send: (_room: string, type: string, txnId: string, content: Record<string, unknown>) =>
        write(txnId, () => {
          this.#refuseTwice(type, content);
          return this.#add(this.botId, type, content);
        }),
      redact: (_room: string, eventId: string, txnId: string, reason: string) =>
        write(txnId, () => this.#add(this.botId, 'm.room.redaction', { redacts: eventId, reason })),
      sync: async (since: string | null, timeout: number) => {
        if (since !== null && Number(since) >= this.#stream.length && this.#again === 0 && timeout > 0) await this.#news(timeout);
        return answer(() => this.#syncAnswer(since));
      },
      messagesBefore: (_room: string, from: string, to: string) =>
        answer(() => ({
          chunk: this.#stream
            .slice(Number(to), Number(from))
            .reverse()
            .map((event) => seen(event, this.#clock.monotonic())),
        })),
    };
    return {
      client: client as unknown as MatrixClient,
      end: () => {
        ended = true;
      },
    };
  }

  moment(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  async rest(moments: number): Promise<void> {
    for (let moment = 0; moment < moments; moment += 1) await this.moment();
  }

  differences(): Promise<string[]> {
    return Promise.resolve([]);
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
              events: timeline.map((event) => seen(event, this.#clock.monotonic())),
              limited,
              prev_batch: String(this.#stream.length - timeline.length),
            },
          },
        },
      },
    };
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
