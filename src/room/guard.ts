import type { Alerts } from '../alerts/alerts.ts';
import { roomState, type ClientApi, type StateEvent } from '../homeserver/admin-room.ts';
import type { Facts } from '../store/facts.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import { belongs, inspect, weaknessNames, type Expectation, type Inspection } from './inspection.ts';
import type { LockDown, LockReason } from './lock-down.ts';

export interface RoomGuardOptions {
  /** The admin room, or null where none is configured. */
  roomId: () => string | null;
  expected: () => Expectation;
  /** Throws `config.no-homeserver`. */
  api: () => ClientApi;
  store: Store;
  facts: Facts;
  lockDown: LockDown;
  alerts: Alerts;
  log: Log;
}

/** An event of the room as a sync brings it. */
export interface SeenEvent {
  type: string;
  sender: string;
  state_key?: string;
  content: Record<string, unknown>;
}

/** The room as it is. */
interface SeenRoom {
  roomId: string;
  state: StateEvent[];
  inspection: Inspection;
}

/** What was found last, and is compared with. */
interface Known {
  roomId: string;
  /** Who was in it then, but for strangers whom no owner has acknowledged. Who loses a role stays known until they leave. */
  members: string[];
  hasPower: boolean;
}

const guarded: ReadonlySet<string> = new Set([
  'm.room.member',
  'm.room.power_levels',
  'm.room.join_rules',
  'm.room.history_visibility',
  'm.room.guest_access',
  'm.room.encryption',
  'm.room.tombstone',
]);

/**
 * Looks after the admin room: what is weaker than it should be is told, and who or what takes it out of the hands of its
 * people locks Steward down. The first look at a room only takes note of who is there.
 */
export class RoomGuard {
  readonly #options: RoomGuardOptions;
  #isDue = true;
  #checking: Promise<void> | null = null;

  constructor(options: RoomGuardOptions) {
    this.#options = options;
  }

  /** Looks at events in the transaction that takes them in: no command of the same sync runs past a stranger. */
  see(roomId: string, events: readonly SeenEvent[]): void {
    // What happens in a room that Steward has left behind concerns nobody.
    if (roomId !== this.#options.roomId()) return;
    const expected = this.#options.expected();
    const known = this.#known();
    for (const event of events) {
      if (event.state_key === undefined || !guarded.has(event.type)) continue;
      this.#isDue = true;
      if (event.type === 'm.room.tombstone') this.#lock(replaced(roomId, event.content['replacement_room']));
      const { membership } = event.content;
      if (event.type !== 'm.room.member' || (membership !== 'join' && membership !== 'invite')) continue;
      // Before the first look there is nothing to compare with.
      if (known === null || belongs(event.state_key, expected) || known.members.includes(event.state_key)) continue;
      if (isIntrusion({ membership, by: event.sender }, expected)) this.#lock(stranger(event.state_key, membership, event.sender));
    }
  }

  /** A timeline was cut short: what changed in between is not known. */
  missed(): void {
    this.#isDue = true;
  }

  /** Looks at the whole room where something has changed; where it cannot be seen, again at the next call. */
  async check(): Promise<void> {
    if (this.#isDue)
      this.#checking ??= this.#check().finally(() => {
        this.#checking = null;
      });
    await this.#checking;
  }

  /** The room as it is now. Throws Failures of the family `homeserver`. */
  async look(): Promise<SeenRoom | null> {
    const { api, expected, roomId } = this.#options;
    const id = roomId();
    if (id === null) return null;
    const state = await roomState(api(), id);
    return { roomId: id, state, inspection: inspect(state, expected()) };
  }

  /** Ends the lock-down: who is in the room now is known from here on. */
  async acknowledge(by: string): Promise<void> {
    const found = await this.look();
    const { lockDown, store } = this.#options;
    store.transaction(() => {
      if (found !== null) this.#remember(found, true);
      this.#over(lockDown.end(by));
    });
  }

  /** Steward works in another room now, of which nothing is known yet. */
  moved(by: string): void {
    const { alerts, facts, lockDown, store } = this.#options;
    store.transaction(() => {
      facts.set('room_known', '');
      this.#over(lockDown.end(by));
      for (const name of weaknessNames) alerts.resolve('room.weak', name);
    });
    this.#isDue = true;
  }

  async #check(): Promise<void> {
    this.#isDue = false;
    try {
      const found = await this.look();
      if (found === null) return;
      this.#options.store.transaction(() => {
        this.#compare(found);
      });
    } catch (error) {
      this.#isDue = true;
      this.#options.log.warn('the room could not be looked at', { error });
    }
  }

  #compare(room: SeenRoom): void {
    const { alerts, expected } = this.#options;
    const { roomId, inspection: found } = room;
    const known = this.#known();
    if (found.replacement !== null) this.#lock(replaced(roomId, found.replacement));
    if (known !== null) {
      for (const { userId, membership, by } of found.strangers)
        if (!known.members.includes(userId) && isIntrusion({ membership, by }, expected())) this.#lock(stranger(userId, membership, by));
      if (known.hasPower && !found.hasPower)
        this.#lock({ kind: 'power-lost', subject: expected().botId, detail: 'Steward may no longer remove messages and members' });
    }
    this.#remember(room, known === null);
    for (const name of weaknessNames) {
      const weakness = found.weaknesses.find((each) => each.name === name);
      if (weakness === undefined) alerts.resolve('room.weak', name);
      // A room that was replaced has an alert of its own.
      else if (name !== 'replaced')
        alerts.raise({
          id: 'room.weak',
          subject: name,
          detail: weakness.detail,
          next: weakness.mends.length > 0 ? '`!server room mend` shows what it would change.' : '`!server room move` makes a new room.',
        });
    }
  }

  /** @param all whether every stranger who is there now counts as known */
  #remember({ roomId, state, inspection: { hasPower } }: SeenRoom, all: boolean): void {
    const before = this.#known();
    const expected = this.#options.expected();
    // An invitation that an owner has acknowledged may be accepted.
    const counted: readonly unknown[] = all ? ['join', 'invite'] : ['join'];
    const present = state.filter(({ type, content }) => type === 'm.room.member' && counted.includes(content['membership']));
    const isKnown = (userId: string): boolean => all || belongs(userId, expected) || before?.members.includes(userId) === true;
    const known: Known = {
      roomId,
      // Who has left is a stranger again.
      members: present.map(({ state_key: userId }) => userId).filter(isKnown),
      hasPower: all ? hasPower : hasPower || (before?.hasPower ?? false),
    };
    this.#options.facts.set('room_known', JSON.stringify(known));
  }

  #known(): Known | null {
    const text = this.#options.facts.get('room_known') ?? '';
    if (text === '') return null;
    const known = JSON.parse(text) as Known;
    return known.roomId === this.#options.roomId() ? known : null;
  }

  #lock(reason: LockReason): void {
    const { alerts, lockDown, store } = this.#options;
    store.transaction(() => {
      if (!lockDown.begin(reason)) return;
      alerts.raise({ id: `room.${reason.kind}`, subject: reason.subject, detail: reason.detail });
    });
  }

  #over(reasons: readonly LockReason[]): void {
    for (const { kind, subject } of reasons) this.#options.alerts.resolve(`room.${kind}`, subject);
  }
}

/** Whom an owner invites is expected, until they are in. */
function isIntrusion({ membership, by }: { membership: 'join' | 'invite'; by: string }, expected: Expectation): boolean {
  return membership === 'join' || !(expected.owners.has(by) || by === expected.botId);
}

function stranger(userId: string, membership: 'join' | 'invite', by: string): LockReason {
  const detail = membership === 'join' ? `${userId} has joined the admin room` : `${by} has invited ${userId} to the admin room`;
  return { kind: 'stranger', subject: userId, detail: `${detail}, and is in no \`people:\`` };
}

function replaced(roomId: string, replacement: unknown): LockReason {
  const by = typeof replacement === 'string' && replacement !== '' ? ` by ${replacement}` : '';
  return { kind: 'replaced', subject: roomId, detail: `somebody has replaced the admin room${by}` };
}
