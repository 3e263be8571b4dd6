import type { Clock } from '../clock.ts';
import type { DirectRooms } from '../store/direct-rooms.ts';
import type { RoomGuard } from '../room/guard.ts';
import type { Facts } from '../store/facts.ts';
import type { Invitation, Invitations } from '../store/invitations.ts';
import type { Inbox, InboxEvent } from '../store/inbox.ts';
import type { Store } from '../store/store.ts';
import type { Undecryptable } from '../store/undecryptable.ts';
import type { MatrixClient } from './client.ts';
import type { Decryption, Device } from './crypto/device.ts';
import type { Encryption } from './crypto/encryption.ts';
import type { Identities } from './crypto/identities.ts';
import { readMessage, type Addressing, type Locked } from './message.ts';
import { sessionOf, type RoomEvent, type SyncAnswer } from './sync-types.ts';

/** What a batch brought, beside the events that are in the inbox now. */
export interface Batch {
  fresh: InboxEvent[];
  /** Whether there are new invitations. */
  isInvited: boolean;
  /** Accounts of `people:` that have another cross-signing identity than before. */
  changedIdentities: string[];
}

/** How far back a gap is filled: older commands would only be listed as missed. */
const gapLimit = 24 * 3600 * 1000;

export interface IntakeOptions {
  client: () => MatrixClient;
  store: Store;
  inbox: Inbox;
  facts: Facts;
  encryption: Encryption;
  identities: Identities;
  undecryptable: Undecryptable;
  invitations: Invitations;
  clock: Clock;
  guard: RoomGuard;
  roomId: string;
  directRooms: DirectRooms;
  addressing: () => Addressing;
}

/** Takes sync answers into the store: events and sync token in one transaction, so that neither is there without the other. */
export class Intake {
  readonly #options: IntakeOptions;
  #firstBatch = true;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  get token(): string | null {
    return this.#options.facts.get('sync_token');
  }

  /**
   * Keeps what a sync answer holds. On the very first one nothing is acted on: it is history.
   *
   * @throws MatrixRequestError when a gap cannot be filled, Failures `store.unwritable` and `crypto.*`; nothing is kept then
   */
  async take(answer: SyncAnswer): Promise<Batch> {
    const { encryption, roomId, store } = this.#options;
    const since = this.token;
    const joined = answer.rooms?.join?.[roomId];
    const timeline = joined?.timeline?.events ?? [];
    const gap =
      since !== null && joined?.timeline?.limited === true && joined.timeline.prev_batch !== undefined
        ? await this.#fillGap(joined.timeline.prev_batch, since)
        : [];
    const events = since === null ? [] : [...gap, ...timeline];
    const becoming = encryptionOf(answer);
    encryption.forgetMembers(answer);
    if (!encryption.isNeeded && becoming.size === 0) {
      const rows = await this.#rows(events, new Map(), false);
      return store.transaction(() => this.#keep(answer, becoming, { rows, missing: [], found: [], identities: new Map() }));
    }
    const batch = await encryption.exclusive(async (device) => {
      const taken = await this.#decrypt(device, answer, events, becoming.has(roomId));
      return device.commit(() => this.#keep(answer, becoming, taken));
    });
    encryption.drain();
    return batch;
  }

  /** Events of the room with what is in them; those whose keys have come now are among them. */
  async #decrypt(device: Device, answer: SyncAnswer, events: readonly RoomEvent[], becomes: boolean): Promise<Taken> {
    const { identities, roomId, undecryptable, clock } = this.#options;
    const keys = await device.receive(answer);
    const late = keys.flatMap((key) => (key.roomId === roomId ? undecryptable.of(roomId, key.sessionId) : []));
    const again = late.map(({ event, receivedAt }): RoomEvent => aged(event as RoomEvent, clock.now() - receivedAt));
    const encrypted = [...again, ...events].filter((event) => event.type === 'm.room.encrypted' && event.state_key === undefined);
    // Before a device is judged, its owner's keys are asked for.
    await device.know([...new Set([...encrypted.map(({ sender }) => sender), ...identities.followed()])]);
    const decrypted = new Map<string, Decryption>();
    for (const event of encrypted)
      if (event.sender !== this.#options.addressing().userId) decrypted.set(event.event_id, await device.decrypt(roomId, event));
    const rows = await this.#rows([...again, ...events], decrypted, becomes);
    const missing = events.filter((event) => decrypted.get(event.event_id)?.kind === 'missing-key');
    const found = again.filter((event) => decrypted.get(event.event_id)?.kind !== 'missing-key').map((event) => event.event_id);
    return { rows, missing, found, identities: await identities.look(device) };
  }

  #keep(answer: SyncAnswer, becoming: ReadonlyMap<string, Record<string, unknown>>, taken: Taken): Batch {
    const { clock, encryption, facts, guard, identities, inbox, roomId, undecryptable } = this.#options;
    for (const [id, content] of becoming) encryption.note(id, content);
    facts.set('sync_token', answer.next_batch);
    for (const event of taken.missing) {
      undecryptable.add(event.event_id, roomId, sessionOf(event), event, clock.now());
    }
    for (const eventId of taken.found) {
      undecryptable.remove(eventId);
      inbox.forget(eventId);
    }
    const joined = answer.rooms?.join?.[roomId];
    guard.see(roomId, [...(joined?.state?.events ?? []), ...(joined?.timeline?.events ?? [])]);
    if (joined?.timeline?.limited === true) guard.missed();
    const fresh = [...taken.rows, ...this.#directReactions(answer)].filter((row) => inbox.add(row));
    for (const row of fresh) if (row.type === 'm.room.redaction') this.#takenBack(row);
    this.#firstBatch = false;
    const invited = this.#invitations(answer);
    for (const invitation of invited) this.#options.invitations.add(invitation);
    return { fresh, isInvited: invited.length > 0, changedIdentities: identities.note(taken.identities) };
  }

  /** What is removed before its turn, or before it has come at all, is as if it had never been said. */
  #takenBack(redaction: InboxEvent): void {
    const { clock, inbox, undecryptable } = this.#options;
    const { about } = redaction.content as { about: string };
    inbox.remove(about, redaction, clock.now());
    undecryptable.remove(about);
  }

  /** Reactions in rooms with one person: the only thing that is heard there. */
  #directReactions(answer: SyncAnswer): InboxEvent[] {
    const { addressing, clock, directRooms } = this.#options;
    return Object.entries(answer.rooms?.join ?? {}).flatMap(([roomId, { timeline }]) => {
      if (directRooms.userOf(roomId) === null) return [];
      return (timeline?.events ?? []).flatMap((event): InboxEvent[] => {
        const content = event.type === 'm.reaction' && event.sender !== addressing().userId ? noteOf(event) : null;
        if (content === null) return [];
        const { event_id: eventId, sender, type, unsigned } = event;
        const receivedAt = clock.now();
        return [
          {
            eventId,
            roomId,
            sender,
            type,
            content,
            trust: { kind: 'plain' },
            ageMs: unsigned?.age ?? null,
            caughtUp: this.#firstBatch,
            receivedAt,
          },
        ];
      });
    });
  }

  /** To rooms other than the admin room. */
  #invitations(answer: SyncAnswer): Invitation[] {
    const { addressing, roomId: ours } = this.#options;
    const { userId } = addressing();
    const invited = Object.entries(answer.rooms?.invite ?? {}).filter(([roomId]) => roomId !== ours);
    return invited.map(([roomId, room]) => ({
      roomId,
      inviter:
        room.invite_state?.events?.find(
          (event) => event.type === 'm.room.member' && event.content['membership'] === 'invite' && event.state_key === userId,
        )?.sender ?? 'somebody',
    }));
  }

  /** Events between the last sync and a timeline that the server cut short, oldest first. */
  async #fillGap(from: string, since: string): Promise<RoomEvent[]> {
    const found: RoomEvent[] = [];
    for (let at: string | undefined = from; at !== undefined;) {
      const page = await this.#options.client().messagesBefore(this.#options.roomId, at, since);
      found.push(...page.chunk);
      const oldest = page.chunk.at(-1);
      if (oldest === undefined || (oldest.unsigned?.age ?? 0) > gapLimit) break;
      at = page.end;
    }
    return found.reverse();
  }

  /** @param becomes whether the room becomes encrypted in this batch: what was plain before that is taken, nothing after it */
  async #rows(events: readonly RoomEvent[], decrypted: ReadonlyMap<string, Decryption>, becomes: boolean): Promise<InboxEvent[]> {
    const rows: InboxEvent[] = [];
    const isEncrypted = this.#options.encryption.isEncrypted(this.#options.roomId);
    const turn = becomes ? events.findIndex((event) => event.type === 'm.room.encryption') : events.length;
    for (const [at, event] of events.entries()) {
      const isPlainRefused = isEncrypted || at > turn;
      const row = await this.#row(event, decrypted.get(event.event_id) ?? null, isPlainRefused);
      if (row !== null) rows.push(row);
    }
    return rows;
  }

  async #row(event: RoomEvent, decryption: Decryption | null, isPlainRefused: boolean): Promise<InboxEvent | null> {
    const { addressing, clock, roomId } = this.#options;
    if (event.sender === addressing().userId || event.state_key !== undefined) return null;
    // Never encrypted, whatever the room is.
    const isNote = event.type === 'm.reaction' || event.type === 'm.room.redaction';
    const reading = isNote ? noteOf(event) : await this.#reading(event, decryption, isPlainRefused);
    if (reading === null) return null;
    return {
      eventId: event.event_id,
      roomId,
      sender: event.sender,
      type: isNote ? event.type : 'm.room.message',
      content: reading,
      trust:
        decryption?.kind === 'decrypted'
          ? { kind: 'decrypted', deviceId: decryption.deviceId, crossSigned: decryption.crossSigned, identity: decryption.identity }
          : { kind: 'plain' },
      ageMs: event.unsigned?.age ?? null,
      caughtUp: this.#firstBatch,
      receivedAt: clock.now(),
    };
  }

  /** What is kept of a message: never more than handling needs, and nothing of one that holds a secret. */
  async #reading(event: RoomEvent, decryption: Decryption | null, isPlainRefused: boolean): Promise<Record<string, unknown> | null> {
    const { addressing, identities } = this.#options;
    if (event.type === 'm.room.encrypted') {
      const session = sessionOf(event);
      if (decryption === null) return null;
      if (decryption.kind !== 'decrypted') return { ...locked(decryption.kind, session) };
      if (decryption.type !== 'm.room.message') return null;
      const reading = await readMessage(decryption.content, addressing());
      if (reading.kind === 'none') return null;
      const isTaken = reading.kind === 'secret' || identities.accepts(event.sender, decryption);
      return { ...(isTaken ? reading : locked('unsigned', session)) };
    }
    if (event.type !== 'm.room.message') return null;
    const reading = await readMessage(event.content, addressing());
    if (reading.kind === 'none') return null;
    return { ...(isPlainRefused && reading.kind !== 'secret' ? locked('plain', null) : reading) };
  }
}

/** What was made of a sync answer, before it is kept. */
interface Taken {
  rows: InboxEvent[];
  /** Events whose key has not come. */
  missing: readonly RoomEvent[];
  /** Ids of earlier ones whose key has come now. */
  found: readonly string[];
  /** The cross-signing identities of accounts whose keys have been looked at. */
  identities: ReadonlyMap<string, string>;
}

function locked(why: Locked['why'], session: string | null): Locked {
  return { kind: 'locked', why, session };
}

/** What is kept of a reaction, and of its removal. */
function noteOf(event: RoomEvent): Record<string, unknown> | null {
  if (event.type === 'm.room.redaction') {
    const redacted = event.content['redacts'] ?? event.redacts;
    return typeof redacted === 'string' ? { about: redacted } : null;
  }
  const relation = event.content['m.relates_to'] as { event_id?: unknown; key?: unknown } | undefined;
  return typeof relation?.event_id === 'string' && typeof relation.key === 'string'
    ? { about: relation.event_id, key: relation.key.slice(0, 32) }
    : null;
}

/** The same event, when it has waited here for so many milliseconds. */
function aged(event: RoomEvent, waited: number): RoomEvent {
  const { age } = event.unsigned ?? {};
  return age === undefined ? event : { ...event, unsigned: { ...event.unsigned, age: age + waited } };
}

/** The rooms of which a sync tells that they are encrypted, with how. */
function encryptionOf(answer: SyncAnswer): Map<string, Record<string, unknown>> {
  const found = new Map<string, Record<string, unknown>>();
  for (const [roomId, { state, timeline }] of Object.entries(answer.rooms?.join ?? {}))
    for (const event of [...(state?.events ?? []), ...(timeline?.events ?? [])])
      if (event.type === 'm.room.encryption') found.set(roomId, event.content);
  return found;
}
