import type { Clock } from '../clock.ts';
import type { Facts } from '../store/facts.ts';
import type { Inbox, InboxEvent } from '../store/inbox.ts';
import type { Store } from '../store/store.ts';
import type { MatrixClient } from './client.ts';
import { readMessage, type Addressing } from './message.ts';
import type { RoomEvent, SyncAnswer } from './sync-types.ts';

export interface Invitation {
  roomId: string;
  inviter: string;
}

/** What a batch brought, beside the events that are in the inbox now. */
export interface Batch {
  fresh: InboxEvent[];
  invitations: Invitation[];
}

/** How far back a gap is filled: older commands would only be listed as missed. */
const gapLimit = 24 * 3600 * 1000;

/** Takes sync answers into the store: events and sync token in one transaction, so that neither is there without the other. */
export class Intake {
  readonly #client: () => MatrixClient;
  readonly #store: Store;
  readonly #inbox: Inbox;
  readonly #facts: Facts;
  readonly #clock: Clock;
  readonly #roomId: string;
  readonly #addressing: () => Addressing;
  #firstBatch = true;

  constructor(options: {
    client: () => MatrixClient;
    store: Store;
    inbox: Inbox;
    facts: Facts;
    clock: Clock;
    roomId: string;
    addressing: () => Addressing;
  }) {
    this.#client = options.client;
    this.#store = options.store;
    this.#inbox = options.inbox;
    this.#facts = options.facts;
    this.#clock = options.clock;
    this.#roomId = options.roomId;
    this.#addressing = options.addressing;
  }

  get token(): string | null {
    return this.#facts.get('sync_token');
  }

  /**
   * Keeps what a sync answer holds. On the very first one nothing is acted on: it is history.
   *
   * @throws MatrixRequestError when a gap cannot be filled, Failure `store.unwritable`; nothing is kept then
   */
  async take(answer: SyncAnswer): Promise<Batch> {
    const since = this.token;
    const joined = answer.rooms?.join?.[this.#roomId];
    const timeline = joined?.timeline?.events ?? [];
    const gap =
      since !== null && joined?.timeline?.limited === true && joined.timeline.prev_batch !== undefined
        ? await this.#fillGap(joined.timeline.prev_batch, since)
        : [];
    const events = since === null ? [] : [...gap, ...timeline];
    const caughtUp = this.#firstBatch;
    const rows: InboxEvent[] = [];
    for (const event of events) {
      const row = await this.#row(event, caughtUp);
      if (row !== null) rows.push(row);
    }
    const state = [...(joined?.state?.events ?? []), ...timeline];
    const encrypted = state.some((event) => event.type === 'm.room.encryption');
    const fresh = this.#store.transaction(() => {
      if (encrypted) this.#facts.set('room_encrypted', this.#roomId);
      this.#facts.set('sync_token', answer.next_batch);
      return rows.filter((row) => this.#inbox.add(row));
    });
    this.#firstBatch = false;
    const invitations = Object.entries(answer.rooms?.invite ?? {}).map(([roomId, room]) => ({
      roomId,
      inviter:
        room.invite_state?.events?.find(
          (event) =>
            event.type === 'm.room.member' && event.content['membership'] === 'invite' && event.state_key === this.#addressing().userId,
        )?.sender ?? 'somebody',
    }));
    return { fresh, invitations };
  }

  /** Events between the last sync and a timeline that the server cut short, oldest first. */
  async #fillGap(from: string, since: string): Promise<RoomEvent[]> {
    const found: RoomEvent[] = [];
    for (let at: string | undefined = from; at !== undefined;) {
      const page = await this.#client().messagesBefore(this.#roomId, at, since);
      found.push(...page.chunk);
      const oldest = page.chunk.at(-1);
      if (oldest === undefined || (oldest.unsigned?.age ?? 0) > gapLimit) break;
      at = page.end;
    }
    return found.reverse();
  }

  async #row(event: RoomEvent, caughtUp: boolean): Promise<InboxEvent | null> {
    if (event.sender === this.#addressing().userId || event.state_key !== undefined) return null;
    const content = await this.#contentOf(event);
    if (content === null) return null;
    return {
      eventId: event.event_id,
      roomId: this.#roomId,
      sender: event.sender,
      type: event.type,
      content,
      trust: { kind: 'plain' },
      ageMs: event.unsigned?.age ?? null,
      caughtUp,
      receivedAt: this.#clock.now(),
    };
  }

  /** What is kept of an event: never more than handling needs, and nothing of one that holds a secret. */
  async #contentOf(event: RoomEvent): Promise<Record<string, unknown> | null> {
    if (event.type === 'm.reaction') {
      const relation = event.content['m.relates_to'] as { event_id?: unknown; key?: unknown } | undefined;
      return typeof relation?.event_id === 'string' && typeof relation.key === 'string'
        ? { about: relation.event_id, key: relation.key.slice(0, 32) }
        : null;
    }
    if (event.type !== 'm.room.message') return null;
    const reading = await readMessage(event.content, this.#addressing());
    return reading.kind === 'none' ? null : { ...reading };
  }
}
