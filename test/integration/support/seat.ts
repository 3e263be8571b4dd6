import type { Content, MatrixClient, RoomEvent } from '../../../kit/client.ts';
import type { Person } from './homeserver.ts';

/** What every message of Steward says of itself. */
export interface Result {
  command: string | null;
  outcome: string;
  job_id?: string;
  error_id?: string;
}

export function resultOf(event: RoomEvent): Result | null {
  return (event.content['org.steward.result'] as Result | undefined) ?? null;
}

export function bodyOf(event: RoomEvent): string {
  return String(event.content['body']);
}

export function relationOf(event: RoomEvent): Content {
  return (event.content['m.relates_to'] as Content | undefined) ?? {};
}

/** The event that this one answers, or null. */
export function answeredBy(event: RoomEvent): string | null {
  return (relationOf(event)['m.in_reply_to'] as { event_id?: string } | undefined)?.event_id ?? null;
}

/** A person in one admin room. */
export class Seat {
  readonly roomId: string;
  readonly #person: Person;
  readonly #botId: string;

  constructor(person: Person, roomId: string, botId: string) {
    this.#person = person;
    this.roomId = roomId;
    this.#botId = botId;
  }

  get client(): MatrixClient {
    return this.#person.client;
  }

  /** Sends a message. @returns its event id */
  async say(text: string, extra: Content = {}): Promise<string> {
    return this.client.send(this.roomId, text, extra);
  }

  async react(eventId: string, key: string): Promise<string> {
    return this.client.react(this.roomId, eventId, key);
  }

  /** The first answer to an event that is not a prompt. */
  async answer(eventId: string, ms = 15_000): Promise<RoomEvent> {
    return this.#person.timeline.waitFor((event) => this.#isAnswer(event, eventId) && resultOf(event)?.outcome !== 'waiting', ms);
  }

  /** The prompt that an event got. @param after an earlier one that is not meant */
  async prompt(eventId: string, after?: string): Promise<RoomEvent> {
    return this.#person.timeline.waitFor(
      (event) => this.#isAnswer(event, eventId) && resultOf(event)?.outcome === 'waiting',
      15_000,
      after,
    );
  }

  /** Sends a message and waits for its answer. */
  async ask(text: string, extra: Content = {}): Promise<RoomEvent> {
    return this.answer(await this.say(text, extra));
  }

  /** The first message of Steward in this room that fits, of those to come and those that were seen. */
  async hears(fits: (body: string, event: RoomEvent) => boolean, ms = 15_000): Promise<RoomEvent> {
    return this.#person.timeline.waitFor(
      (event) => this.#isOfBot(event) && event.type === 'm.room.message' && fits(bodyOf(event), event),
      ms,
    );
  }

  /** Every event of the room that this person may see, from the homeserver itself, oldest first. */
  async history(): Promise<RoomEvent[]> {
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(this.roomId)}/messages?dir=b&limit=500`;
    const found: RoomEvent[] = [];
    for (let from: string | undefined = ''; from !== undefined;) {
      const page: { chunk: RoomEvent[]; end?: string } = await this.client.request(
        'GET',
        from === '' ? path : `${path}&from=${encodeURIComponent(from)}`,
      );
      found.push(...page.chunk.map((event) => ({ ...event, room_id: this.roomId })));
      from = page.end;
    }
    return found.reverse();
  }

  /** All messages of Steward that answer an event, from the homeserver itself. */
  async answers(eventId: string): Promise<RoomEvent[]> {
    return (await this.history()).filter((event) => this.#isAnswer(event, eventId));
  }

  #isAnswer(event: RoomEvent, eventId: string): boolean {
    return this.#isOfBot(event) && event.type === 'm.room.message' && answeredBy(event) === eventId;
  }

  #isOfBot(event: RoomEvent): boolean {
    return event.room_id === this.roomId && event.sender === this.#botId;
  }
}

/** The code that a prompt wants typed, or `none`. */
export function codeIn(prompt: RoomEvent): string {
  return /!approve ([0-9A-F]{4}-[0-9A-F]{2})/.exec(bodyOf(prompt))?.[1] ?? 'none';
}
