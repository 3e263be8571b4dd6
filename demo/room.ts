import type { MatrixClient, RoomEvent } from '../kit/client.ts';
import { redactionOf } from './content.ts';

/** A room as the client of somebody who sits in it knows it. What was seen stays known when it is redacted. */
export class RoomLog {
  readonly roomId: string;
  /** In the order in which they were seen. */
  readonly events: RoomEvent[] = [];
  readonly #client: MatrixClient;
  readonly #seen = new Map<string, RoomEvent>();
  readonly #redacted = new Set<string>();
  readonly #listeners = new Set<(event: RoomEvent) => void>();
  #end: () => void = () => undefined;

  private constructor(client: MatrixClient, roomId: string) {
    this.#client = client;
    this.roomId = roomId;
  }

  /** Begins to follow the room, from the first event that `client` may see. */
  static async open(client: MatrixClient, roomId: string): Promise<RoomLog> {
    const log = new RoomLog(client, roomId);
    const timeline = await client.timeline();
    for (const event of await log.#history()) log.#add(event);
    for (const event of timeline.events) log.#add(event);
    timeline.onEvent((event) => log.#add(event));
    log.#end = () => timeline.stop();
    return log;
  }

  onEvent(listener: (event: RoomEvent) => void): void {
    this.#listeners.add(listener);
  }

  find(eventId: string): RoomEvent | undefined {
    return this.#seen.get(eventId);
  }

  isRedacted(event: RoomEvent): boolean {
    return this.#redacted.has(event.event_id);
  }

  /** Asks the homeserver for all there is, until now. @returns every event in the homeserver's order, as it was first seen */
  async complete(): Promise<RoomEvent[]> {
    const history = await this.#history();
    for (const event of history) this.#add(event);
    return history.map((event) => this.#seen.get(event.event_id) ?? event);
  }

  close(): void {
    this.#end();
  }

  async #history(): Promise<RoomEvent[]> {
    const found: RoomEvent[] = [];
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(this.roomId)}/messages?dir=b&limit=500`;
    for (let from: string | undefined = ''; from !== undefined;) {
      const page: { chunk: RoomEvent[]; end?: string } = await this.#client.request(
        'GET',
        from === '' ? path : `${path}&from=${encodeURIComponent(from)}`,
      );
      found.push(...page.chunk);
      from = page.end;
    }
    return found.reverse();
  }

  #add(event: RoomEvent): void {
    if (event.room_id !== this.roomId) return;
    if (event.unsigned?.['redacted_because'] !== undefined) this.#redacted.add(event.event_id);
    if (this.#seen.has(event.event_id)) {
      this.#nowReadable(event);
      return;
    }
    this.#seen.set(event.event_id, event);
    this.events.push(event);
    const redacts = redactionOf(event);
    if (redacts !== null) this.#redacted.add(redacts);
    for (const listener of this.#listeners) listener(event);
  }

  /** An event whose key came late. */
  #nowReadable(event: RoomEvent): void {
    const before = this.#seen.get(event.event_id);
    if (before?.type !== 'm.room.encrypted' || event.encrypted !== true) return;
    this.#seen.set(event.event_id, event);
    this.events[this.events.indexOf(before)] = event;
    for (const listener of this.#listeners) listener(event);
  }
}
