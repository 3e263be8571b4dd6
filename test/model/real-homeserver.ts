import { Secret } from '../../src/config/secret.ts';
import { MatrixClient } from '../../src/matrix/client.ts';
import type { RoomEvent, SyncAnswer } from '../../src/matrix/sync-types.ts';
import { HttpError, openClient, type MatrixClient as Human } from '../../kit/client.ts';
import type { Account } from '../../kit/synapse.ts';
import type { ModelClock } from './clock.ts';
import { faulty, never, seen, type Connection, type SentEvent, type Server, type WriteFault } from './server.ts';

/** Who is in the room; the first has made it. */
export interface RoomOptions {
  url: string;
  people: readonly Human[];
  bot: Account;
  clock: ModelClock;
}

const ours = ['m.room.message', 'm.reaction', 'm.room.redaction'];
/** Milliseconds without any request after which nothing is under way: files are written in them. */
const quiet = 5;

/**
 * A room on a real Synapse. Events have the age that the clock of the history gives them, and those that come late, again or in another order do so on
 * their way from Synapse to Steward.
 */
export class RealHomeserver implements Server {
  readonly roomId: string;
  readonly botId: string;
  readonly events: SentEvent[] = [];
  readonly faults: WriteFault[] = [];
  delivered = 0;
  readonly #options: RoomOptions;
  /** Those that were held back, in the order in which they come. */
  readonly #late: SentEvent[] = [];
  /** In the order in which Steward was given them. */
  readonly #given: SentEvent[] = [];
  #again = 0;
  #next: 'reversed' | 'cut' | null = null;
  #holding = 0;
  #listeners: (() => void)[] = [];
  /** How often there was something new. */
  #told = 0;
  /** What somebody is sending: nothing is told of it before its id is known. */
  #sending: Promise<unknown> = Promise.resolve();
  /** How many requests of Steward are under way, and the real time at which the last one ended. */
  #requests = 0;
  #lastRequest = 0;

  private constructor(roomId: string, options: RoomOptions) {
    this.roomId = roomId;
    this.botId = options.bot.userId;
    this.#options = options;
  }

  static async open(options: RoomOptions): Promise<RealHomeserver> {
    const { people, bot, url } = options;
    const [first, ...others] = people;
    if (first === undefined) throw new TypeError('nobody is there');
    const roomId = await first.createRoom({
      preset: 'private_chat',
      invite: [...others.map(({ userId }) => userId), bot.userId],
      power_level_content_override: { users: { [bot.userId]: 100 } },
      creation_content: { 'm.federate': false },
    });
    for (const client of [...others, openClient({ ...bot, url })]) await client.join(roomId);
    return new RealHomeserver(roomId, options);
  }

  event(eventId: string): SentEvent | undefined {
    return this.events.find((event) => event.event_id === eventId);
  }

  async send(sender: string, type: string, content: Record<string, unknown>): Promise<string> {
    const person = this.#options.people.find(({ userId }) => userId === sender);
    if (person === undefined) throw new TypeError(`${sender} is not in the room`);
    const isHeld = this.#holding > 0;
    if (isHeld) this.#holding -= 1;
    const sending =
      type === 'm.room.redaction' ? person.redact(this.roomId, String(content['redacts'])) : person.sendEvent(this.roomId, type, content);
    this.#sending = sending;
    let eventId: string;
    try {
      eventId = await sending;
    } catch (error) {
      const earlier = this.#sameReaction(sender, content);
      if (earlier === undefined || !(error instanceof HttpError) || error.errcode !== 'M_DUPLICATE_ANNOTATION') throw error;
      // What stands already stays the one there is: a client shows it as given.
      return earlier.event_id;
    }
    this.#add(eventId, sender, type, content, isHeld);
    return eventId;
  }

  #sameReaction(sender: string, content: Record<string, unknown>): SentEvent | undefined {
    const relation = JSON.stringify(content['m.relates_to']);
    return this.events.findLast((event) => event.sender === sender && JSON.stringify(event.content['m.relates_to']) === relation);
  }

  hold(count: number): void {
    this.#holding = count;
  }

  release(): void {
    this.#holding = 0;
    this.#late.push(...this.events.filter((event) => event.isStale && !this.#late.includes(event)));
    this.#tell();
  }

  repeat(count: number): void {
    this.#again = count;
  }

  disturb(how: 'reversed' | 'cut'): void {
    this.#next = how;
  }

  connect(): Connection {
    let ended = false;
    const { bot, url } = this.#options;
    const real = new MatrixClient(url, new Secret(bot.accessToken));
    const whileAlive = async <T>(result: T | Promise<T>): Promise<T> => (ended ? never() : result);
    const request = async <T>(work: () => Promise<T>): Promise<T> => {
      await whileAlive(null);
      this.#requests += 1;
      const result = work();
      await Promise.allSettled([result]);
      await Promise.allSettled([this.#sending]);
      this.#requests -= 1;
      this.#lastRequest = performance.now();
      return whileAlive(result);
    };
    const write = (type: string, content: Record<string, unknown>, work: () => Promise<string>): Promise<string> =>
      request(() =>
        faulty(this.faults, async () => {
          const eventId = await work();
          // The same transaction is the same event.
          if (this.event(eventId) === undefined) this.#add(eventId, this.botId, type, content, false);
          return eventId;
        }),
      );
    const client: Partial<MatrixClient> = {
      whoami: () => request(() => real.whoami()),
      join: (roomId) => request(() => real.join(roomId)),
      leave: (roomId) => request(() => real.leave(roomId)),
      state: (roomId, type, key) => request(() => real.state(roomId, type, key)),
      accountData: (userId, type) => request(() => real.accountData(userId, type)),
      setAccountData: (userId, type, content) => request(() => real.setAccountData(userId, type, content)),
      setState: (roomId, type, key, content) => request(() => real.setState(roomId, type, key, content)),
      event: (roomId, eventId) => request(async () => this.#aged(await real.event(roomId, eventId))),
      send: (roomId, type, txnId, content) =>
        write(type, content as Record<string, unknown>, () => real.send(roomId, type, txnId, content)),
      redact: (roomId, eventId, txnId, reason) =>
        write('m.room.redaction', { redacts: eventId, reason }, () => real.redact(roomId, eventId, txnId, reason)),
      sync: async (since, timeout) => {
        const at = placeOf(since);
        const ask = (): Promise<SyncAnswer> => request(() => real.sync(at.token, at.token === null ? timeout : 0));
        let told = this.#told;
        let answer = await ask();
        if (at.token !== null && timeout > 0 && this.#again === 0 && !this.#hasNews(answer, at.late)) {
          // What was sent while it was asked may be too late for the answer.
          if (told === this.#told) await this.#news(timeout);
          do {
            told = this.#told;
            answer = await ask();
          } while (told !== this.#told);
        }
        if (this.#next === 'cut' && this.#hasNews(answer, at.late)) answer = await request(() => this.#askShort(at.token));
        return this.#give(answer, at.late);
      },
      messagesBefore: (roomId, from, to) =>
        request(async () => {
          const page = await real.messagesBefore(roomId, from, placeOf(to).token ?? '');
          const chunk = page.chunk.filter((event) => this.event(event.event_id)?.isStale !== true);
          for (const event of chunk.toReversed()) this.#place(event.event_id);
          return { ...page, chunk: chunk.map((event) => this.#aged(event)) };
        }),
    };
    return {
      client: client as MatrixClient,
      end: () => {
        ended = true;
      },
    };
  }

  async moment(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }

  async rest(): Promise<void> {
    do await this.moment();
    while (this.#requests > 0 || performance.now() - this.#lastRequest < quiet);
  }

  /** What Synapse tells alice of the room, against what is known to have been sent. */
  async differences(): Promise<string[]> {
    const [reader] = this.#options.people;
    const found: string[] = [];
    for (let from: string | undefined = ''; from !== undefined && reader !== undefined;) {
      const page: { chunk: RoomEvent[]; end?: string } = await reader.request(
        'GET',
        `/_matrix/client/v3/rooms/${encodeURIComponent(this.roomId)}/messages?dir=b&limit=500${from === '' ? '' : `&from=${encodeURIComponent(from)}`}`,
      );
      found.push(...page.chunk.filter(({ type }) => ours.includes(type)).map((event) => wordsOf(event)));
      from = page.end;
    }
    const known = this.events.map((event) => wordsOf(event));
    return [
      ...found.filter((event) => !known.includes(event)).map((event) => `Synapse has ${event}, which nobody is known to have sent`),
      ...known.filter((event) => !found.includes(event)).map((event) => `${event} was sent, and Synapse has it not`),
    ];
  }

  #add(eventId: string, sender: string, type: string, content: Record<string, unknown>, isStale: boolean): void {
    const { clock } = this.#options;
    const sent = { event_id: eventId, type, sender, origin_server_ts: clock.now(), content, unsigned: { age: clock.monotonic() } };
    this.events.push({ ...sent, redactedBy: null, place: null, isStale });
    if (type === 'm.room.redaction') {
      const redacted = this.event(String(content['redacts']));
      if (redacted !== undefined) redacted.redactedBy = eventId;
    }
    if (!isStale) this.#tell();
  }

  /** The event with what the clock of the history says of it; one that is held back, as it was sent. */
  #aged(event: RoomEvent): RoomEvent {
    const sent = this.event(event.event_id);
    if (sent === undefined) return event;
    const { origin_server_ts, unsigned } = seen(sent, this.#options.clock.monotonic());
    return { ...event, origin_server_ts, unsigned: { ...event.unsigned, ...unsigned } };
  }

  #place(eventId: string): void {
    const event = this.event(eventId);
    if (event === undefined) return;
    if (event.place === null) event.place = this.delivered++;
    this.#given.push(event);
  }

  #hasNews(answer: SyncAnswer, late: number): boolean {
    const events = answer.rooms?.join?.[this.roomId]?.timeline?.events ?? [];
    return late < this.#late.length || events.some((event) => this.event(event.event_id)?.isStale !== true);
  }

  /** What the next sync brings, with all but the last two events of the timeline left out. */
  async #askShort(since: string | null): Promise<SyncAnswer> {
    const { bot, url } = this.#options;
    const filter = JSON.stringify({ room: { timeline: { types: [...ours, 'm.room.member'], limit: 2 } } });
    const query = new URLSearchParams({ filter, timeout: '0', ...(since === null ? {} : { since }) });
    return openClient({ ...bot, url }).request<SyncAnswer>('GET', `/_matrix/client/v3/sync?${query.toString()}`);
  }

  /** The answer as Steward gets it. @param late how many of those that come late it has been given before */
  #give(answer: SyncAnswer, late: number): SyncAnswer {
    const now = this.#options.clock.monotonic();
    const room = answer.rooms?.join?.[this.roomId];
    const again = this.#again === 0 ? [] : this.#given.slice(-this.#again);
    const fresh = (room?.timeline?.events ?? []).filter((event) => this.event(event.event_id)?.isStale !== true);
    const held = this.#late.slice(late);
    this.#again = 0;
    for (const { event_id: eventId } of [...fresh, ...held]) this.#place(eventId);
    const events = [
      ...again.map((event) => seen(event, now)),
      ...fresh.map((event) => this.#aged(event)),
      ...held.map((event) => seen(event, now)),
    ];
    if (this.#next === 'reversed' && events.length > 0) events.reverse();
    if (events.length > 0) this.#next = null;
    return {
      ...answer,
      next_batch: `${answer.next_batch}~${this.#late.length}`,
      ...(events.length === 0
        ? {}
        : { rooms: { ...answer.rooms, join: { [this.roomId]: { ...room, timeline: { ...room?.timeline, events } } } } }),
    };
  }

  /** Something is there to be told. */
  #tell(): void {
    this.#told += 1;
    for (const listener of this.#listeners.splice(0)) listener();
  }

  async #news(timeout: number): Promise<void> {
    const waiting = new AbortController();
    this.#listeners.push(() => {
      waiting.abort();
    });
    await this.#options.clock.sleep(timeout, waiting.signal);
  }
}

/** A place in the stream: Synapse's own token, and how many of those that come late have come. */
function placeOf(since: string | null): { token: string | null; late: number } {
  const [token = null, late = '0'] = since?.split('~') ?? [];
  return { token, late: Number(late) };
}

function wordsOf({ event_id: eventId, type, sender }: RoomEvent): string {
  return `${type} ${eventId} of ${sender}`;
}
